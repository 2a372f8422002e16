"""Singular vectors of a product of two thin matrices, found from the factors, and their signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from traveling_words.nearest import Nearest, Rows, nearest


@dataclass(frozen=True)
class Singular:
    """W = left @ diag(values) @ right^T, for each head: left (H, d, r), values (H, r), right (H, d, r)."""

    left: Tensor
    values: Tensor
    right: Tensor


def thin_svd(a: Tensor, b: Tensor) -> Singular:
    """The singular vectors of a @ b^T that belong to its rank, without forming the product.

    a, b: (H, d, r) with r at most d. With a = Q R and b = P S, a b^T = Q (R S^T) P^T, and Q and P have orthonormal
    columns, so that the SVD of the r x r core R S^T gives that of the product, exactly (Golub and Van Loan, Matrix
    Computations, 4th ed., section 8.6). Cost O(d r^2) a head instead of O(d^3).
    """
    q, r = torch.linalg.qr(a)
    p, s = torch.linalg.qr(b)
    u, values, vh = torch.linalg.svd(r @ s.mT)
    return Singular(q @ u, values, p @ vh.mT)


def align_signs(left: Tensor, right: Tensor, vocabulary: Rows, k: int) -> tuple[Tensor, Tensor, Nearest]:
    """Choose the sign of each singular pair by the vocabulary, since a decomposition leaves it open.

    left, right: (n, d), one vector a row. The right vector points to where its largest dot product with the vocabulary
    is larger; should both sides be equal, to where its first coordinate that is not 0 is positive. The left vector
    turns with it. Also returns the k nearest tokens of the right vectors.
    """
    both = nearest(torch.cat([right, -right]), vocabulary, k)
    plus, minus = both.scores[:, 0].chunk(2)
    first = right.gather(1, (right != 0).to(torch.int8).argmax(1, keepdim=True)).squeeze(1)
    # Equal up to rounding, which may differ between v and -v.
    equal = (plus - minus).abs() <= 1e4 * torch.finfo(right.dtype).eps * torch.maximum(plus.abs(), minus.abs())
    turn = torch.where(equal, first < 0, minus > plus)
    sign = torch.where(turn, -1.0, 1.0).to(right)[:, None]
    (ids_plus, ids_minus), (scores_plus, scores_minus) = both.ids.chunk(2), both.scores.chunk(2)
    chosen = Nearest(
        torch.where(turn[:, None], ids_minus, ids_plus), torch.where(turn[:, None], scores_minus, scores_plus)
    )
    return left * sign, right * sign, chosen


def coverage(values: Tensor) -> Tensor:
    """Share of the sum of the singular values (..., r), largest first, that the first n make up, n = 1..r.

    Of a matrix of zeros, as a pruned head has, any number of them makes up the whole.
    """
    whole = values.sum(-1, keepdim=True)
    return torch.where(whole > 0, values.cumsum(-1) / whole, 1)


def reach(values: Tensor, share: float = 0.99) -> Tensor:
    """The smallest number of singular values (..., r) whose sum is more than a share of the whole."""
    beyond = coverage(values) > share
    return 1 + beyond.to(torch.int8).argmax(-1)
