"""The correction is scikit-learn's ridge regression, and its error the one that the rows themselves give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import Ridge

from linear_shortcuts.shorten.corrections import PENALTIES, Moments, best

WIDTH = 6


def rows(seed: int, number: int = 50, *, large: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, WIDTH, generator=generator, dtype=torch.float64) + 0.5
    x[:, 0] *= large  # real states have a coordinate or two that tower over the rest
    y = x @ torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64) + 1
    return x, y + torch.randn(number, WIDTH, generator=generator, dtype=torch.float64)


def moments(x: torch.Tensor, y: torch.Tensor, parts: int = 3) -> Moments:
    made = Moments(x.shape[1])
    for chunk in zip(x.chunk(parts), y.chunk(parts), strict=True):
        made.update(*chunk)
    return made


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    penalty=st.sampled_from([1e-6, 1e-3, 0.1, 10.0]),
    intercept=st.booleans(),
    large=st.sampled_from([1.0, 1000.0]),
)
def test_it_is_the_ridge_regression_of_scikit_learn(seed, penalty, intercept, large):
    x, y = rows(seed, large=large)
    centred = x - x.mean(0) if intercept else x
    alpha = penalty * float(centred.square().sum() / WIDTH)
    theirs = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(x.numpy(), y.numpy())
    ours = moments(x, y).solve(penalty, intercept=intercept)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.matrix.numpy(), theirs.coef_, atol=1e-7 * scale, rtol=1e-6)
    if intercept:
        np.testing.assert_allclose(ours.shift.numpy(), theirs.intercept_, atol=1e-6 * max(1, scale * large))


@pytest.mark.parametrize("intercept", [False, True])
def test_its_error_is_that_of_the_rows(intercept):
    found = moments(*rows(0)).solve(0.01, intercept=intercept)
    x, y = rows(1)
    guess = x @ found.matrix.T + (found.shift if intercept else 0)
    assert moments(x, y).error(found) == pytest.approx(float((guess - y).square().sum() / y.square().sum()))


def test_the_penalty_is_the_one_that_errs_least_on_rows_of_its_own():
    fit, own = moments(*rows(0, number=8)), moments(*rows(0)[:2])
    chosen = best(fit, own, intercept=False)
    errors = {share: own.error(fit.solve(share, intercept=False)) for share in PENALTIES}
    assert chosen.penalty == min(errors, key=errors.__getitem__)
    assert chosen.r2 == pytest.approx(1 - min(errors.values()))
    assert len({round(error, 6) for error in errors.values()}) > 3  # the positive control: it matters


def test_what_lies_in_the_span_is_recovered_without_a_penalty_even_where_x_lacks_rank():
    x, _ = rows(0)
    x[:, 5] = x[:, 4]
    y = x @ torch.randn(WIDTH, WIDTH, dtype=torch.float64)
    found = moments(x, y).solve(0.0, intercept=False)
    torch.testing.assert_close(x @ found.matrix.T, y)
