"""A map fitted on arrays of one's own, in scikit-learn's manner; scikit-learn itself is not needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from linear_shortcuts.files import InputError
from linear_shortcuts.maps.regression import Moments


class MapRegressor:
    """Y from X by one matrix, least squares, as the layer maps are fitted: float64 moments, no intercept by default.

    intercept: whether a bias is fitted too, as of the lens `affine`. Of sources that lack rank the smallest solution is
    taken. After `fit`: `coef_`, (e, d) float64, and `intercept_`, (e,), as of scikit-learn's `LinearRegression`.
    """

    def __init__(self, *, intercept: bool = False) -> None:
        self.intercept = intercept

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, which is what scikit-learn's `clone` and searches ask for."""
        return {"intercept": self.intercept}

    def set_params(self, **params: Any) -> MapRegressor:
        """Change settings in place."""
        for name, value in params.items():
            if name not in self.get_params():
                raise InputError(f"{name!r} is no setting of MapRegressor; it has: intercept")
            setattr(self, name, value)
        return self

    def fit(self, X: ArrayLike, Y: ArrayLike) -> MapRegressor:  # noqa: N803 (scikit-learn's names)
        """Fit on X (n, d) and Y (n, e), row by row the same tokens.

        Raises `InputError` for arrays that are not such, or hold values that are not finite.
        """
        source, target = _rows("X", X), _rows("Y", Y)
        if len(source) != len(target):
            raise InputError(f"X has {len(source)} rows and Y {len(target)}; give both for the same tokens")
        centre, aim = (source.mean(0), target.mean(0)) if self.intercept else (source[0] * 0, target[0] * 0)
        moments = Moments(source.shape[1], target.shape[1])
        moments.update(source - centre, target - aim)
        matrix = moments.solve().matrices[0]
        self.coef_: NDArray[np.float64] = matrix.numpy()
        self.intercept_: NDArray[np.float64] = (aim - matrix @ centre).numpy()
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """What Y is guessed to be, (n, e). Raises `InputError` before `fit` and for another width."""
        if not hasattr(self, "coef_"):
            raise InputError("this MapRegressor was not fitted; call fit(X, Y) first")
        source = _rows("X", X).numpy()
        if source.shape[1] != self.coef_.shape[1]:
            raise InputError(f"X has {source.shape[1]} columns; it was fitted on {self.coef_.shape[1]}")
        guess: NDArray[np.float64] = source @ self.coef_.T + self.intercept_
        return guess

    def score(self, X: ArrayLike, Y: ArrayLike) -> float:  # noqa: N803
        """r2, the mean over the columns of Y, as scikit-learn's `r2_score` has it."""
        target = _rows("Y", Y).numpy()
        rest = ((target - self.predict(X)) ** 2).sum(0)
        spread = ((target - target.mean(0)) ** 2).sum(0)
        return float(np.mean(1 - rest / spread))


def _rows(name: str, values: ArrayLike) -> torch.Tensor:
    rows = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if rows.ndim != 2 or not rows.numel():
        raise InputError(f"{name} has shape {tuple(rows.shape)}; give rows (n, d), one a token")
    if not bool(torch.isfinite(rows).all()):
        raise InputError(f"{name} has values that are not finite; leave those rows out")
    return rows
