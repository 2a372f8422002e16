"""Word vectors in three dimensions, by UMAP or by principal components."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np

from linear_shortcuts.files import InputError

DIMENSIONS = 3


class Projection(Protocol):
    @property
    def name(self) -> str:
        """What titles call it."""
        ...

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (n, d) in three dimensions, (n, 3)."""
        ...


def fit_projection(
    method: Literal["auto", "umap", "pca"], rows: np.ndarray, *, neighbors: int, min_distance: float, seed: int
) -> Projection:
    """A projection fitted on word vectors (n, d); `auto` is UMAP where umap-learn is installed, else PCA."""
    installed = find_spec("umap") is not None
    if method == "umap" and not installed:
        raise InputError(
            "trajectory.projection is umap but umap-learn is not installed; install the extra `studies` of this "
            "project or set it to pca"
        )
    if method == "pca" or not installed:
        return PCA.fit(rows)
    if len(rows) <= neighbors + 1:
        raise InputError(f"trajectory.neighbors is {neighbors}; UMAP on {len(rows)} word vectors takes fewer")
    return UMAP.fit(rows, neighbors, min_distance, seed)


@dataclass(frozen=True)
class PCA:
    """mean: (d,); axes: (d, 3), of the largest variance, each with its largest coordinate positive."""

    mean: np.ndarray
    axes: np.ndarray
    name: str = "PCA"

    @classmethod
    def fit(cls, rows: np.ndarray) -> PCA:
        rows = rows.astype(np.float64)
        mean = rows.mean(0)
        _, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean))  # ascending
        axes = vectors[:, ::-1][:, :DIMENSIONS]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(0, keepdims=True), 0)
        return cls(mean, axes * np.sign(largest))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return (points - self.mean) @ self.axes


@dataclass(frozen=True)
class UMAP:
    """Uniform manifold approximation (McInnes et al. 2018, arXiv:1802.03426), from its spectral start, seeded.

    A point that was not fitted lands at the mean of its nearest word vectors, weighted by UMAP's own memberships.
    umap-learn's `transform` goes on from there by a random search whose outcome depends on the other points placed in
    the same call, so that a path would also show which points it was drawn with.
    """

    rows: np.ndarray  # (n, d)
    places: np.ndarray  # (n, 3)
    neighbors: int
    name: str = "UMAP"

    @classmethod
    def fit(cls, rows: np.ndarray, neighbors: int, min_distance: float, seed: int) -> UMAP:
        import umap

        rows = rows.astype(np.float32)
        with warnings.catch_warnings():
            # That there is no index for `transform`, which we do without.
            warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)
            reducer = umap.UMAP(
                n_components=DIMENSIONS,
                n_neighbors=neighbors,
                min_dist=min_distance,
                metric="euclidean",
                init="spectral",
                random_state=seed,
                n_jobs=1,
                precomputed_knn=(*_nearest(rows, rows, neighbors), None),  # exact; umap-learn's own are approximate
            )
            return cls(rows, reducer.fit_transform(rows), neighbors)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        from umap.umap_ import compute_membership_strengths, smooth_knn_dist

        indices, distances = _nearest(points.astype(np.float32), self.rows, self.neighbors)
        sigmas, rhos = smooth_knn_dist(distances, float(self.neighbors), local_connectivity=0.0)
        strengths = compute_membership_strengths(indices, distances, sigmas, rhos, bipartite=True)[2]
        weights = strengths.reshape(indices.shape).astype(np.float64)
        fitted = distances[:, 0] == 0  # a word vector itself stays where it is
        weights[fitted] = np.eye(1, self.neighbors)
        return np.einsum("nk,nkd->nd", weights / weights.sum(1, keepdims=True), self.places[indices])


def _nearest(points: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each point, nearest first: indices and Euclidean distances, (n, k) each."""
    from sklearn.neighbors import NearestNeighbors

    search: Any = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    distances, indices = search.kneighbors(points)
    return indices.astype(np.int32), distances.astype(np.float32)
