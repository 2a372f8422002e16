"""Closed-form lenses against scikit-learn, numpy's SVD, the explicit hat matrix, and a theorem."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from linear_shortcuts.lenses.closed_form import future, future_part, lenses, regressions

PENALTIES = [1e-6, 1e-3, 0.03, 0.3, 3.0]


def drawn(n, d, seed, e=None):
    """A source with a mean far from zero and coordinates of very different size, and a target that half follows it."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5) * np.geomspace(1, 300, d)
    y = x @ rng.normal(size=(d, e or d)) / 100 + 3 * rng.normal(size=(n, e or d)) + 7
    return x, y


def regressed(x, y, parts=1):
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    [regression] = regressions(
        [(a[None], b) for a, b in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)]
    )
    return regression


@settings(max_examples=25, deadline=None)
@given(n=st.integers(30, 80), d=st.integers(1, 12), parts=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_affine_is_scikit_learns_linear_regression(n, d, parts, seed):
    x, y = drawn(n, d, seed)
    made = lenses(0, 3, regressed(x, y, parts), [], PENALTIES)["affine"]
    reference = LinearRegression(tol=1e-14).fit(x, y)
    np.testing.assert_allclose(made.transport(torch.from_numpy(x)), reference.predict(x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_ridge_is_scikit_learns_and_gcv_is_that_of_the_explicit_hat_matrix(penalty):
    x, y = drawn(60, 7, 0, e=5)
    regression, n = regressed(x, y), 60
    scaled = StandardScaler().fit_transform(x)
    reference = Ridge(alpha=penalty * n).fit(scaled, y)
    ours = x @ regression.matrix(penalty).numpy().T + regression.bias(regression.matrix(penalty)).numpy()
    np.testing.assert_allclose(ours, reference.predict(scaled), rtol=1e-8)
    hat = 1 / n + scaled @ np.linalg.inv(scaled.T @ scaled + penalty * n * np.eye(7)) @ scaled.T
    residual = ((y - hat @ y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    assert regression.gcv(penalty) == pytest.approx(residual.sum() / (1 - np.trace(hat) / n) ** 2, rel=1e-9)


def test_the_penalty_minimises_gcv_on_the_grid_and_grows_with_noise():
    quiet, (x, y) = regressed(*drawn(60, 20, 1)), drawn(60, 20, 1)
    noisy = regressed(x, np.random.default_rng(0).normal(size=y.shape))
    for regression in (quiet, noisy):
        best = regression.best_penalty(PENALTIES)
        assert all(regression.gcv(best) <= regression.gcv(other) for other in PENALTIES)
    assert noisy.best_penalty(PENALTIES) > quiet.best_penalty(PENALTIES)


@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_low_rank_is_the_truncated_svd_of_the_centred_fitted_values(rank, seed):
    x, y = drawn(50, 8, seed)
    made = lenses(0, 3, regressed(x, y), [rank, 8], PENALTIES)
    assert "low_rank_8" not in made  # of full rank it would be affine
    fitted = LinearRegression(tol=1e-14).fit(x, y).predict(x) - y.mean(0)
    u, s, v = np.linalg.svd(fitted, full_matrices=False)
    expected = u[:, :rank] * s[:rank] @ v[:rank] + y.mean(0)
    found = made[f"low_rank_{rank}"]
    np.testing.assert_allclose(found.transport(torch.from_numpy(x)), expected, rtol=1e-3, atol=1e-2)
    assert [tuple(factor.shape) for factor in found.factors] == [(rank, 8), (8, rank)]


def test_shift_adds_the_mean_difference():
    x, y = drawn(40, 4, 2)
    made = lenses(0, 3, regressed(x, y), [], PENALTIES)["shift"]
    np.testing.assert_allclose(made.transport(torch.from_numpy(x)), x + (y - x).mean(0), rtol=1e-4, atol=1e-3)


def test_a_source_that_lacks_rank_predicts_as_well_as_lapacks():
    x, y = drawn(60, 6, 3)
    x[:, 5], x[:, 4] = x[:, 0] + x[:, 1], 9
    regression = regressed(x, y)
    assert regression.rank == 4
    reference = np.c_[x, np.ones(60)] @ np.linalg.lstsq(np.c_[x, np.ones(60)], y, rcond=1e-12)[0]
    matrix = regression.matrix()
    np.testing.assert_allclose(x @ matrix.numpy().T + regression.bias(matrix).numpy(), reference, rtol=1e-7)


def test_of_antithetic_gaussian_samples_and_a_quadratic_map_affine_is_the_mean_jacobian():
    """Odd moments of m + x and m - x vanish exactly, so what Stein's lemma says of the mean holds to the last digit."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5))
    m, a, q = rng.normal(size=5), rng.normal(size=(5, 5)), rng.normal(size=(5, 5, 5))
    samples = np.concatenate([m + x, m - x])
    values = samples @ a.T + np.einsum("kij,ni,nj->nk", q, samples, samples)
    mean_jacobian = np.mean([a + np.einsum("kij,j->ki", q + q.transpose(0, 2, 1), h) for h in samples], axis=0)
    np.testing.assert_allclose(regressed(samples, values).matrix().numpy(), mean_jacobian, atol=1e-9)


@pytest.mark.parametrize("causal", [True, False])
def test_future_of_rows_of_one_token_is_affines_matrix_and_sums_what_comes(causal):
    x, y = drawn(40, 5, 4)
    states = torch.stack([torch.from_numpy(x), torch.from_numpy(y)])[:, :, None]  # (layers, rows, T = 1, d)
    [regression] = regressions([future_part(states, 1, slice(0, 1), causal=causal)])
    torch.testing.assert_close(future(0, 1, regression).matrix, regressed(x, y).matrix().float())
    states = torch.randn(3, 2, 6, 5)
    sources, sums = future_part(states, 2, slice(1, 5), causal=causal)
    assert sources.shape == (2, 2, 4, 5)
    expected = states[2][:, 3:5].sum(1) if causal else states[2][:, 1:5].sum(1)
    torch.testing.assert_close(sums[:, 2].float(), expected)


def test_every_position_is_centred_by_itself():
    rng = np.random.default_rng(5)
    x, noise = rng.normal(size=(50, 3, 4)), 0.1 * rng.normal(size=(50, 3, 4))
    a, means = rng.normal(size=(4, 4)), 100 * rng.normal(size=(3, 4))
    y = x @ a.T + noise + means
    [found] = regressions([(torch.from_numpy(x)[None], torch.from_numpy(y))])
    centred = [(value - value.mean(0)).reshape(-1, 4) for value in (x, y)]
    expected = LinearRegression(fit_intercept=False).fit(*centred).coef_
    np.testing.assert_allclose(found.matrix().numpy(), expected, rtol=1e-8)


def test_parts_that_can_be_read_only_once_are_refused():
    parts = [(torch.randn(1, 9, 2), torch.randn(9, 2))]
    with pytest.raises(ValueError, match="a list, not a generator"):
        regressions(iter(parts))
