"""The singular-vector probe: which directions of the stream a head compares, reads and writes, as words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from traveling_words.attention import Attention
from traveling_words.factorization import align_signs, thin_svd
from traveling_words.nearest import Rows, nearest

MATRICES = ("qk", "vo")
BIAS_PROBES = ("+ Wq bk", "- Wq bk", "+ bq Wk", "- bq Wk")


def probe_singular_vectors(
    attention: Attention,
    embeddings: Tensor,
    readout: Tensor,
    heads: Sequence[int],
    pairs: int,
    k: int,
    distance: int = 0,
) -> dict[str, dict[str, Tensor]]:
    """The leading singular pairs of W_QK and W_VO for some heads of one block, and the k tokens nearest to them.

    embeddings, readout: (V, d); distance: see `Attention.qk_factors`. Left and right vectors of W_QK and the left ones
    of W_VO are read in the normed word vectors, as the block sees them; the right ones of W_VO, which go to the stream,
    in `readout`.

    Returns for `qk` and `vo`: `values` (S, r), all of them; `left_ids`, `left_scores`, `right_ids`, `right_scores`
    (S, pairs, k), pairs at most r.
    """
    normed, words = Rows(embeddings, attention.norm), Rows(readout)
    found = {}
    for matrix, factors, right_words in (
        ("qk", attention.qk_factors(distance), normed),
        ("vo", attention.vo_factors, words),
    ):
        svd = thin_svd(*(factor[list(heads)] for factor in factors))
        leading = svd.values[:, :pairs].shape
        left, right = (vectors[:, :, :pairs].mT.flatten(0, 1) for vectors in (svd.left, svd.right))
        left, _, right_found = align_signs(left, right, right_words, k)
        left_found = nearest(left, normed, k)
        found[matrix] = {
            "values": svd.values,
            "left_ids": left_found.ids.unflatten(0, leading),
            "left_scores": left_found.scores.unflatten(0, leading),
            "right_ids": right_found.ids.unflatten(0, leading),
            "right_scores": right_found.scores.unflatten(0, leading),
        }
    return found


def probe_biases(attention: Attention, embeddings: Tensor, heads: Sequence[int], k: int) -> dict[str, Any]:
    """The tokens nearest to what the biases of queries and keys single out, with either sign.

    Wq b_k^T adds the same to the scores of all keys of a query and cancels in the softmax (without rotary positions);
    b_q Wk^T favours some keys whatever the query.

    Returns `ids`, `scores` (S, 4, k), in the order of `BIAS_PROBES`; `norms` (S, 2) of the two vectors.
    """
    chosen = list(heads)
    to_query = (attention.query[chosen] @ attention.key_bias[chosen, :, None]).squeeze(-1)
    to_key = (attention.key[chosen] @ attention.query_bias[chosen, :, None]).squeeze(-1)
    vectors = torch.stack([to_query, -to_query, to_key, -to_key], dim=1)  # (S, 4, d)
    found = nearest(vectors.flatten(0, 1), Rows(embeddings, attention.norm), k)
    return {
        "ids": found.ids.unflatten(0, vectors.shape[:2]),
        "scores": found.scores.unflatten(0, vectors.shape[:2]),
        "norms": torch.stack([to_query.norm(dim=-1), to_key.norm(dim=-1)], dim=1),
    }
