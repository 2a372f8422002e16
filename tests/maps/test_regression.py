"""Least squares from moments equals scikit-learn's, on full-rank and on deficient sources, streamed or not."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import LinearRegression

from linear_shortcuts.maps.fitting import layer_moments, layer_targets, passes
from linear_shortcuts.maps.regression import STRIP, Gram, Moments, fit
from linear_shortcuts.states.extraction import Shard

CPU = torch.device("cpu")


def towering(n, d, seed):
    """States as real GPT-2 has them: correlated, with a few coordinates thousands of times larger, in float32."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
    mixed[:, rng.choice(d, size=max(1, d // 20), replace=False)] *= 3000
    return mixed.astype(np.float32)


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 60), d=st.integers(1, 20), e=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_full_rank_maps_equal_scikit_learns(n, d, e, seed):
    n = max(n, 2 * d)
    x, y = towering(n, d, seed), np.random.default_rng(seed + 1).normal(size=(n, e))
    solution = fit(torch.from_numpy(x), torch.from_numpy(y))
    # At its default tolerance scikit-learn drops every direction a million times weaker than the strongest, and a
    # towering coordinate makes ordinary ones look like that.
    reference = LinearRegression(fit_intercept=False, tol=1e-14).fit(x.astype(np.float64), y).coef_
    assert solution.rank == d
    assert relative_error(solution.matrices[0].numpy(), reference) < 1e-6


def deficient(width, rank, seed):
    """A source of less than full rank, its coordinates from 1 to 3,000 times the smallest in size."""
    rng = np.random.default_rng(seed)
    sizes = rng.permutation(np.geomspace(1, 3000, width))
    return rng.normal(size=(100, rank)) @ rng.normal(size=(rank, width)) * sizes


@settings(max_examples=40, deadline=None)
@given(width=st.integers(2, 16), rank=st.integers(1, 15), seed=st.integers(0, 10**6))
def test_of_a_deficient_source_the_smallest_map_is_taken_as_by_lapack_and_scikit_learn(width, rank, seed):
    rank = min(rank, width - 1)
    x, y = deficient(width, rank, seed), np.random.default_rng(seed + 1).normal(size=(100, 3))
    solution = fit(torch.from_numpy(x), torch.from_numpy(y))
    ours = solution.matrices[0].numpy()
    assert solution.rank == rank
    # Below the default tolerance of either lie ordinary directions that share a source with a towering coordinate.
    assert relative_error(ours, scipy.linalg.lstsq(x, y, cond=1e-11, lapack_driver="gelsd")[0].T) < 1e-7
    assert relative_error(ours, LinearRegression(fit_intercept=False, tol=1e-11).fit(x, y).coef_) < 1e-7
    moments = layer_moments(
        [0], [Shard(torch.stack(list(map(torch.from_numpy, (x, x)))), torch.empty(0))], 1, "all", CPU
    )
    projector = (
        moments[0].solve().matrices[0].numpy()
    )  # of least size, a map to itself is the projector on the rows' span
    assert relative_error(projector, np.linalg.pinv(x, rcond=1e-11) @ x) < 1e-7


def test_states_that_lack_rank_but_for_their_rounding_get_the_smallest_map_too():
    x = np.float32(deficient(24, 15, 0))
    y = np.random.default_rng(1).normal(size=(100, 3))
    solution = fit(torch.from_numpy(x), torch.from_numpy(y))
    assert solution.rank == 15
    # A basis of the directions that x only sees by its rounding, found without our code: the last singular vectors of x
    # with its coordinates scaled, which are in its own coordinates once divided by the scale.
    scale = np.linalg.norm(np.float64(x), axis=0)
    unseen = np.linalg.svd(x / scale)[2][15:] / scale
    ours = solution.matrices[0].numpy()
    assert np.abs(ours @ np.linalg.qr(unseen.T)[0]).max() < 1e-6 * np.abs(ours).max()
    exact = scipy.linalg.lstsq(deficient(24, 15, 0), y, cond=1e-11, lapack_driver="gelsd")[0].T
    assert relative_error(x @ ours.T, deficient(24, 15, 0) @ exact.T) < 1e-4


def test_rounding_to_float32_does_not_pass_for_rank():
    rng = np.random.default_rng(0)
    tokens, positions = rng.normal(size=(20, 64)), rng.normal(size=(10, 64))
    rows = [(rng.integers(20), rng.integers(10)) for _ in range(3000)]
    x = np.stack([np.float32(tokens[t]) + np.float32(positions[p]) for t, p in rows])
    assert np.linalg.matrix_rank(x.astype(np.float64)) > 29  # what a float64 tolerance would believe
    solution = fit(torch.from_numpy(x), torch.from_numpy(rng.normal(size=(3000, 4))))
    assert solution.rank == 29  # 20 + 10, which share one constant direction
    assert solution.matrices.abs().max() < 10


def test_an_exact_relation_is_recovered_and_a_source_maps_to_itself_by_the_identity():
    x = torch.from_numpy(towering(300, 12, 0))
    relation = torch.randn(12, 12, dtype=torch.float64)
    torch.testing.assert_close(fit(x, x.double() @ relation.T).matrices[0], relation, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(fit(x, x).matrices[0], torch.eye(12, dtype=torch.float64), atol=1e-8, rtol=0)


def test_the_residual_is_orthogonal_to_the_source():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(200, 8))), torch.from_numpy(rng.normal(size=(200, 8)))
    residual = y - x @ fit(x, y).matrices[0].T
    np.testing.assert_allclose((x.T @ residual).numpy(), 0, atol=1e-10)
    assert residual.abs().max() > 0.1  # not orthogonal merely because it is zero


def test_coordinates_that_are_always_zero_get_no_weight():
    x = torch.randn(50, 6, dtype=torch.float64)
    x[:, 2] = 0
    solution = fit(x, torch.randn(50, 3, dtype=torch.float64))
    assert solution.rank == 5
    assert solution.matrices[0][:, 2].abs().max() < 1e-12
    assert fit(torch.zeros(50, 6), torch.randn(50, 3)).rank == 0


def test_one_batch_or_many_give_the_same_map():
    x, y = torch.from_numpy(towering(500, 10, 1)), torch.randn(500, 10)
    whole, streamed = Moments(10), Moments(10)
    whole.update(x, y)
    for rows in torch.arange(500).split(37):
        streamed.update(x[rows], y[rows])
    torch.testing.assert_close(whole.solve().matrices, streamed.solve().matrices, atol=1e-9, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(1, 12), rank=st.integers(1, 12), parts=st.integers(1, 4))
def test_a_whitened_source_has_orthonormal_columns_of_the_same_span(seed, width, rank, parts):
    rng = np.random.default_rng(seed)
    rank = min(rank, width)
    x = rng.normal(size=(60, rank)) @ rng.normal(size=(rank, width)) * np.geomspace(1, 3000, width)
    gram = Gram(width)
    for part in torch.from_numpy(x).tensor_split(parts):
        gram.update(part)
    white = gram.whitening().whiten(torch.from_numpy(x)).numpy()
    assert white.shape == (60, rank)
    np.testing.assert_allclose(white.T @ white, np.eye(rank), atol=1e-5)
    np.testing.assert_allclose(white @ (white.T @ x), x, atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize("deficient", [False, True])
def test_a_width_of_several_strips_is_fitted_as_a_narrow_one(deficient):
    width = 2 * STRIP + 7
    x = torch.randn(1000, width, dtype=torch.float64)
    if deficient:
        x[:, -1] = x[:, 0] - x[:, STRIP]
    y = torch.randn(1000, 5, dtype=torch.float64)
    gram = Gram(width)
    gram.update(x)
    whitening = gram.whitening()
    assert whitening.triangular is not deficient  # both ways are taken
    white = whitening.whiten(x)
    torch.testing.assert_close(white.T @ white, torch.eye(width - deficient, dtype=torch.float64), atol=1e-9, rtol=0)
    expected = torch.from_numpy(LinearRegression(fit_intercept=False).fit(x, y).predict(x))
    torch.testing.assert_close(x @ fit(x, y).matrices[0].T, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(x @ whitening.solve(white.T @ y).T, expected, atol=1e-8, rtol=0)


@settings(max_examples=30, deadline=None)
@given(condition=st.floats(1, 1e9), seed=st.integers(0, 10**6))
def test_cholesky_is_taken_only_where_no_eigenvalue_counts_as_zero(condition, seed):
    rng = np.random.default_rng(seed)
    x = np.linalg.qr(rng.normal(size=(80, 12)))[0] * np.geomspace(1, 1 / condition, 12)
    x = x @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
    gram = Gram(12)
    gram.update(torch.from_numpy(x))
    scaled = x / np.linalg.norm(x, axis=0)
    values = np.linalg.eigvalsh(scaled.T @ scaled)
    whitening = gram.whitening()
    if whitening.triangular:
        assert values[0] > 12 * np.finfo(float).eps * values[-1]
    if condition < 1e4:
        assert whitening.triangular


def test_products_in_float32_with_a_whitened_source_predict_as_well_as_float64():
    """Also where the source is ill-conditioned and its moments in float32 would be useless."""
    x = torch.from_numpy(towering(2000, 20, 1)).float()
    x[:, 1] = x[:, 0] + 1e-3 * x[:, 1] * x[:, 0].norm() / x[:, 1].norm()
    y = x @ torch.randn(20, 20) + torch.randn(2000, 20)
    exact = fit(x, y).matrices[0]
    found = layer_moments([0], [Shard(torch.stack([x, y]), x[:0])], 1, "all", CPU)[0].solve().matrices[0]
    worst = ((found - exact) @ x.T.double()).norm(dim=1) / y.double().norm(dim=0)
    assert worst.max() < 1e-6  # of every coordinate, however small beside the others
    in_float32 = torch.linalg.solve(x.T @ x, x.T @ y).T.double()
    assert ((in_float32 - exact) @ x.T.double()).norm() / y.double().norm() > 1e-6  # positive control


@pytest.mark.parametrize("rank", [200, 90])
def test_the_number_of_threads_changes_no_bit(rank):
    torch.manual_seed(0)
    x, y = torch.randn(400, rank) @ torch.randn(rank, 200), torch.randn(400, 3)
    before, solved = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        solved.append(fit(x, y))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    one, two = solved
    assert one.rank == two.rank == rank
    assert torch.equal(one.matrices, two.matrices)


def test_shards_that_can_be_read_only_once_are_refused():
    shards = [Shard(torch.randn(2, 20, 3), torch.empty(0)) for _ in range(2)]
    layer_moments([0], shards, 1, "all", CPU)
    with pytest.raises(ValueError, match="a list, not a generator"):
        layer_moments([0], iter(shards), 1, "all", CPU)


@pytest.mark.parametrize("targets", ["all", "last"])
def test_all_pairs_come_out_of_streamed_shards(targets):
    states = torch.randn(4, 90, 7, dtype=torch.float64)
    shards = [Shard(part, part[:-1]) for part in states.split(40, dim=1)]
    moments = layer_moments(range(3), shards, 3, targets, torch.device("cpu"))
    for source in range(3):
        to = layer_targets(source, 3, targets)
        assert list(to) == ([*range(source + 1, 4)] if targets == "all" else [3])
        for target, matrix in zip(to, moments[source].solve().matrices, strict=True):
            reference = LinearRegression(fit_intercept=False).fit(states[source].double(), states[target].double())
            np.testing.assert_allclose(matrix.numpy(), reference.coef_, atol=1e-10)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.floats(0.001, 1.0))
def test_passes_keep_every_unit_once_and_stay_within_the_budget(numbers, budget_gib):
    units = dict(enumerate(numbers))
    groups = passes(units, 256, budget_gib)
    assert [unit for group in groups for unit in group] == list(units)
    for group in groups:
        assert len(group) == 1 or sum(units[unit] for unit in group) * 8 * 256 * 256 <= budget_gib * 2**30
