"""The nearest tokens of a vector: those whose rows have the largest dot products with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROWS_PER_CHUNK = 4096
QUERIES_PER_CHUNK = 1024


@dataclass(frozen=True)
class Rows:
    """The rows of a matrix (V, d) after a transform, made a chunk at a time and never all at once."""

    matrix: Tensor
    transform: Callable[[Tensor], Tensor] = lambda rows: rows

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: Any) -> Tensor:
        return self.transform(self.matrix[index])

    def chunks(self, size: int, like: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The number of the first row and the rows, on the device and in the precision of `like`."""
        for first in range(0, len(self), size):
            yield first, self[first : first + size].to(like)


@dataclass(frozen=True)
class Nearest:
    """ids, scores: (n, k), the best first."""

    ids: Tensor
    scores: Tensor


def nearest(queries: Tensor, rows: Rows, k: int, rows_per_chunk: int = ROWS_PER_CHUNK) -> Nearest:
    """The k rows with the largest dot products with each query (n, d); of equal ones the lower id comes first.

    Holds at most rows_per_chunk x 1,024 scores at a time, whatever the size of the vocabulary. k is cut to the
    number of rows.
    """
    if len(queries) > QUERIES_PER_CHUNK:
        parts = [nearest(part, rows, k, rows_per_chunk) for part in queries.split(QUERIES_PER_CHUNK)]
        return Nearest(torch.cat([part.ids for part in parts]), torch.cat([part.scores for part in parts]))
    best = Nearest(
        torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device), queries.new_empty(len(queries), 0)
    )
    for first, chunk in rows.chunks(rows_per_chunk, like=queries):
        found = _top(queries @ chunk.T, k)
        ids = torch.cat([best.ids, found.ids + first], dim=1)
        scores = torch.cat([best.scores, found.scores], dim=1)
        # What was best so far has lower ids and stands first, so that a stable sort keeps the order of equals.
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :k]
        best = Nearest(ids.gather(1, order), scores.gather(1, order))
    return best


def _top(scores: Tensor, k: int) -> Nearest:
    """The k largest of each row (n, m), of equal ones the first; `topk` leaves open which of them it takes."""
    m = scores.shape[1]
    k = min(k, m)
    values, ids = scores.topk(k, dim=1)
    # All that is larger than the k-th value is certain; the places left go to the first of those equal to it.
    last = values[:, -1:]
    backwards = torch.arange(m, 0, -1, device=scores.device)
    equal = torch.where(scores == last, backwards, 0).topk(k, dim=1).values  # m - id, largest for the first; 0: none
    certain = values > last
    place = torch.arange(k, device=scores.device)
    taken = (place - certain.sum(1, keepdim=True)).clamp(min=0)
    ids = torch.where(certain, ids, m - equal.gather(1, taken))
    # Among the certain ones there may be equals too: order by id, then stably by score.
    ids = ids.sort(dim=1).values
    values = scores.gather(1, ids)
    order = values.sort(dim=1, descending=True, stable=True).indices
    return Nearest(ids.gather(1, order), values.gather(1, order))


def rank(query: Tensor, rows: Rows, token: int, *, cosine: bool = False) -> int:
    """The place of a token, 1 the best, among all rows by dot product with a query (d,), or by cosine.

    Of equal ones the lower id comes first.
    """
    scores = torch.cat(
        [
            (chunk / chunk.norm(dim=-1, keepdim=True).clamp(min=1e-30) if cosine else chunk) @ query
            for _, chunk in rows.chunks(ROWS_PER_CHUNK, like=query)
        ]
    )
    own = scores[token]
    return 1 + int((scores > own).sum()) + int((scores[:token] == own).sum())
