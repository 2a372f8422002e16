"""What the learned vectors of characters look like: in three dimensions, by t-SNE, and in numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from character_embeddings.vocabulary import END_ID, UNKNOWN_ID, Vocabulary
from linear_shortcuts.files import InputError

VOWELS = frozenset("aeiouæœøı")
METHODS = {"exact": "t-SNE, exact", "barnes_hut": "t-SNE, as published"}  # of gradients; the latter approximates them


def kind(vocabulary: Vocabulary, number: int) -> str:
    """`vowel` or `consonant` of Latin letters, whatever their accents; `other`: everything else."""
    token = vocabulary.tokens[number]
    letter = unicodedata.normalize("NFD", token)[:1]
    if number in (UNKNOWN_ID, END_ID) or not unicodedata.name(letter, "").startswith("LATIN SMALL"):
        return "other"
    return "vowel" if letter in VOWELS else "consonant"


def three_dimensions(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """Vectors (V, emb) as points (V, 3), and what the axes are: coordinates, or the first principal components."""
    if vectors.shape[1] == 3:
        return vectors, "its coordinates"
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    # The sign of a component is free; its largest entry is made positive so that every run draws the same.
    signs = np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
    points = (left * values * signs)[:, :3]
    missing = 3 - points.shape[1]
    return np.pad(points, ((0, 0), (0, missing))), f"principal components of {vectors.shape[1]} coordinates"


def check_perplexity(perplexity: float, characters: int) -> None:
    """Raise `InputError` unless there are more characters than neighbours that t-SNE is to keep near."""
    if perplexity >= characters:
        raise InputError(f"tsne.perplexity is {perplexity:g} but there are {characters} characters; it must be smaller")


def tsne(vectors: np.ndarray, perplexity: float, seed: int, method: str = "exact") -> np.ndarray:
    """The vectors in the plane, (V, 2), by t-SNE; method: see `METHODS`. On one thread, so that sums have one order."""
    check_perplexity(perplexity, len(vectors))
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        own = TSNE(perplexity=perplexity, random_state=seed, method=method)
        return own.fit_transform(vectors.astype(np.float64))


def distances(vectors: np.ndarray) -> np.ndarray:
    """Euclidean distances between all rows, (V, V)."""
    return np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)


def neighbours(vectors: np.ndarray, vocabulary: Vocabulary, k: int = 3) -> list[dict[str, Any]]:
    """For every character its kind, the k nearest others with their distances, and the length of its vector."""
    between = distances(vectors)
    np.fill_diagonal(between, np.inf)
    order = between.argsort(1, kind="stable")[:, :k]
    return [
        {
            "character": vocabulary.tokens[number],
            "kind": kind(vocabulary, number),
            "nearest": " ".join(vocabulary.tokens[other] for other in order[number]),
            "distances": " ".join(f"{between[number, other]:.3f}" for other in order[number]),
            "norm": round(float(np.linalg.norm(vectors[number])), 4),
        }
        for number in range(len(vocabulary))
    ]


def separation(vectors: np.ndarray, vocabulary: Vocabulary) -> dict[str, float | None]:
    """Mean distances between vowels, between consonants, and from vowels to consonants; None where there are none."""
    between = distances(vectors)
    kinds = [kind(vocabulary, number) for number in range(len(vocabulary))]
    return {
        f"{one}_{other}": _mean_distance(between, kinds, one, other)
        for one, other in (("vowel", "vowel"), ("consonant", "consonant"), ("vowel", "consonant"))
    }


def _mean_distance(between: np.ndarray, kinds: Sequence[str], one: str, other: str) -> float | None:
    rows, columns = ([n for n, name in enumerate(kinds) if name == wanted] for wanted in (one, other))
    values = [between[i, j] for i in rows for j in columns if i < j or one != other]
    return float(np.mean(values)) if values else None
