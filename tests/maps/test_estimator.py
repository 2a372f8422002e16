"""The map on arrays, against scikit-learn's own regressions, and inside its tools."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from linear_shortcuts.files import InputError
from linear_shortcuts.maps import MapRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 7)) + 3
Y = X @ RNG.normal(size=(7, 4)) + 0.3 * RNG.normal(size=(60, 4)) + 2


@pytest.mark.parametrize("intercept", [False, True])
def test_it_is_scikit_learns_regression(intercept):
    ours, theirs = MapRegressor(intercept=intercept).fit(X, Y), LinearRegression(fit_intercept=intercept).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_ * np.ones(4), atol=1e-8)
    np.testing.assert_allclose(ours.predict(X[:5]), theirs.predict(X[:5]), atol=1e-9)
    assert ours.score(X, Y) == pytest.approx(theirs.score(X, Y), abs=1e-12)


def test_the_smallest_solution_where_rank_is_lacking():
    doubled = np.concatenate([X, X], axis=1)
    theirs = LinearRegression(fit_intercept=False).fit(doubled, Y)
    np.testing.assert_allclose(MapRegressor().fit(doubled, Y).coef_, theirs.coef_, atol=1e-8)


def test_clones_and_settings():
    copy = clone(MapRegressor(intercept=True))
    assert copy.get_params() == {"intercept": True}
    assert not hasattr(copy, "coef_")
    assert copy.set_params(intercept=False).intercept is False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MapRegressor().fit(X[0], Y[0]), r"X has shape \(7,\); give rows"),
        (lambda: MapRegressor().fit(X, Y[:9]), "X has 60 rows and Y 9"),
        (lambda: MapRegressor().fit(X / 0, Y), "X has values that are not finite"),
        (lambda: MapRegressor().predict(X), "not fitted"),
        (lambda: MapRegressor().fit(X, Y).predict(Y), "X has 4 columns; it was fitted on 7"),
        (lambda: MapRegressor().set_params(bias=True), "'bias' is no setting"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_ends_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
