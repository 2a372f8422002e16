"""The study's results as records, as logs, and as the few numbers that sum a model up.

The functions take what the stages have saved. A record is one row of a table; `text` turns a token id into a string.
Beside the texts of tokens stand their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from traveling_words import nouns as noun_probe
from traveling_words.factorization import coverage, reach
from traveling_words.formats import latex_tables
from traveling_words.heads import BIAS_PROBES, MATRICES
from traveling_words.trajectory import does_it_approach

Text = Callable[[int], str]
Table = list[dict[str, Any]]
Blocks = Mapping[int, Mapping[str, Any]]  # block -> what a probe saved of it

LIMITS = (
    "Raw word vectors are fed to every block as if they arrived there unchanged, without positions; each noun attends "
    "only to itself."
)
CANCELS = (
    "Wq bk adds the same to the scores of all keys of a query and cancels in the softmax; only bq Wk can change what "
    "is attended to."
)
VECTORS = ("Wq bk", "bq Wk")  # that biases make of a head
CANCELS_ROTARY = "With rotary positions Wq bk depends on the distance and does not cancel exactly."


def _tokens_of(name: str, ids: Sequence[int] | Tensor, text: Text) -> dict[str, Any]:
    """Tokens as texts and as ids: bytes that are no text by themselves all read alike."""
    ids = [*map(int, ids)]
    return {name: [*map(text, ids)], f"{name}_ids": ids}


def rotary(distance: int) -> str:
    """What to know of W_QK in a model that turns queries and keys by their positions."""
    which = "a token that looks at itself" if distance == 0 else f"a key {distance} tokens before the query"
    return (
        f"This model turns queries and keys by their positions: W_QK is that for {which}, and another matrix holds at "
        "every other distance."
    )


# --- records -----------------------------------------------------------------------------------------------


def score_records(extremes: Mapping[str, Sequence[Any]], scores: Mapping[str, Tensor], text: Text, raw: Any) -> Table:
    """One row per setting and position: the tokens with the largest and the smallest scores, and their bytes."""
    return [
        {
            "setting": setting,
            "position": position,
            "score": float(scores[setting][token]),
            "token": text(token),
            "bytes": raw(token).hex(),
            "id": token,
        }
        for setting, listed in extremes.items()
        for position, token in listed
    ]


def key_records(blocks: Blocks, words: Sequence[str], text: Text) -> Table:
    """One row per block, noun and head: the nearest keys."""
    return [
        {"block": block, "noun": noun, "head": head, **_tokens_of("keys", probe["key_ids"][n, h], text)}
        for block, probe in blocks.items()
        for n, noun in enumerate(words)
        for h, head in enumerate(probe["heads"])
    ]


def value_records(blocks: Blocks, words: Sequence[str], text: Text) -> Table:
    """One row per block, noun and head, and one for the layer sum: norm of the update and the nearest tokens."""
    records: Table = []
    for block, probe in blocks.items():
        for n, noun in enumerate(words):
            heads = [
                (str(head), probe["norms"][n, h], probe["value_ids"][n, h]) for h, head in enumerate(probe["heads"])
            ]
            for head, norm, ids in (*heads, ("layer sum", probe["sum_norms"][n], probe["sum_ids"][n])):
                found = _tokens_of("values", ids, text)
                records.append({"block": block, "noun": noun, "head": head, "norm": float(norm), **found})
    return records


def singular_records(blocks: Blocks, text: Text) -> Table:
    """One row per matrix, block, head and singular pair, pairs counted from 1."""
    return [
        {
            "matrix": matrix,
            "block": block,
            "head": head,
            "pair": pair + 1,
            "value": float(found[matrix]["values"][h, pair]),
            **_tokens_of("left", found[matrix]["left_ids"][h, pair], text),
            **_tokens_of("right", found[matrix]["right_ids"][h, pair], text),
        }
        for matrix in MATRICES
        for block, found in blocks.items()
        for h, head in enumerate(found["heads"])
        for pair in range(found[matrix]["left_ids"].shape[1])
    ]


def coverage_records(blocks: Blocks) -> Table:
    """One row per matrix, block, head and number n of singular values: their share of the sum, n as a share of all."""
    return [
        {
            "matrix": matrix,
            "block": block,
            "head": head,
            "n": n,
            "share_of_values": n / found[matrix]["values"].shape[1],
            "coverage": share,
        }
        for matrix in MATRICES
        for block, found in blocks.items()
        for h, head in enumerate(found["heads"])
        for n, share in enumerate(coverage(found[matrix]["values"][h]).tolist(), start=1)
    ]


def reach_records(blocks: Blocks) -> Table:
    """One row per matrix, block and head: how many singular values make up more than 99 % of the sum."""
    return [
        {
            "matrix": matrix,
            "block": block,
            "head": head,
            "largest": float(found[matrix]["values"][h, 0]),
            "values": found[matrix]["values"].shape[1],
            "for_99_percent": int(reach(found[matrix]["values"][h])),
        }
        for matrix in MATRICES
        for block, found in blocks.items()
        for h, head in enumerate(found["heads"])
    ]


def bias_records(blocks: Blocks, text: Text) -> Table:
    """One row per block, head and bias vector with either sign; none for a head without biases."""
    return [
        {
            "block": block,
            "head": head,
            "probe": probe,
            "norm": float(norm),
            **_tokens_of("tokens", found["biases"]["ids"][h, p], text),
        }
        for block, found in blocks.items()
        for h, head in enumerate(found["heads"])
        for p, probe in enumerate(BIAS_PROBES)
        if (norm := found["biases"]["norms"][h, p // 2]) > 0
    ]


def approach_records(approach: Mapping[str, Any], text: Text) -> Table:
    """One row per layer: how close the followed token's state is to the phrase's last word, in the full space."""
    return [
        {
            **{key: value for key, value in row.items() if key != "nearest_ids"},
            **_tokens_of("nearest", row["nearest_ids"], text),
        }
        for row in approach["rows"]
    ]


# --- logs --------------------------------------------------------------------------------------------------


def _tokens(tokens: Sequence[str]) -> str:
    return ", ".join(map(repr, tokens))


def noun_log(records: Table, kind: str, head_line: str) -> str:
    """The probe of nouns as text: per block a heading, per noun a line, per head a line with its tokens.

    kind: `keys` or `values`, the second with the norms of the updates and a last line for the layer sum.
    """
    lines = [head_line, LIMITS]
    block = noun = None
    for record in records:
        if record["block"] != block:
            lines += ["", f"Block {record['block']}"]
            noun = None
        if record["noun"] != noun:
            lines += ["", f"{'Query' if kind == 'keys' else 'Key'}: {record['noun']!r}"]
        block, noun = record["block"], record["noun"]
        name = "Layer Sum" if record["head"] == "layer sum" else f"Head {record['head']}"
        norm = f" (norm {record['norm']:.4f})" if kind == "values" else ""
        lines.append(f"  {name}{norm}: {_tokens(record[kind])}")
    return "\n".join(lines) + "\n"


def singular_log(records: Table, matrix: str, head_line: str) -> str:
    """The singular pairs of one matrix as text: per head a heading, then the lists `Left` and `Right`."""
    lines = [head_line]
    chosen = [record for record in records if record["matrix"] == matrix]
    for block, head in dict.fromkeys((record["block"], record["head"]) for record in chosen):
        pairs = [record for record in chosen if (record["block"], record["head"]) == (block, head)]
        lines += ["", f"Block {block}, head {head}"]
        for side in ("left", "right"):
            lines.append(f"  {side.capitalize()}")
            lines += [f"    {pair['pair']:2}. {_tokens(pair[side])} ({pair['value']:.2f})" for pair in pairs]
    return "\n".join(lines) + "\n"


def bias_log(records: Table, head_line: str) -> str:
    """The bias probes as text, and which of them can matter."""
    lines = [head_line]
    if not records:
        lines.append("This model's queries and keys have no biases.")
    place = None
    for record in records:
        if place != (record["block"], record["head"]):
            place = (record["block"], record["head"])
            lines += ["", f"Block {place[0]}, head {place[1]}"]
        lines.append(f"  {record['probe']} (norm {record['norm']:.2f}): {_tokens(record['tokens'])}")
    return "\n".join(lines) + "\n"


def singular_latex(records: Table, matrix: str, block: int, words: int) -> str:
    """The singular pairs of one matrix and block as LaTeX tables, one for each head, with the nearest few words."""
    chosen = [record for record in records if (record["matrix"], record["block"]) == (matrix, block)]
    heads = list(dict.fromkeys(record["head"] for record in chosen))
    rows = [
        [
            {"pair": r["pair"], "value": r["value"], "left": r["left"][:words], "right": r["right"][:words]}
            for r in chosen
            if r["head"] == head
        ]
        for head in heads
    ]
    return latex_tables([f"W{matrix.upper()}, block {block}, head {head}" for head in heads], rows)


# --- metrics -----------------------------------------------------------------------------------------------


def metrics(
    embeddings: Mapping[str, Any],
    nouns: Blocks,
    nouns_card: Mapping[str, Any],
    heads: Blocks,
    heads_card: Mapping[str, Any],
    path: Mapping[str, Any],
) -> dict[str, Any]:
    """What sums one model up."""
    distances = embeddings["distances"]
    summary = {block: noun_probe.summarize(dict(probe), nouns_card["ids"]) for block, probe in nouns.items()}
    return {
        "model": embeddings["card"]["model"],
        "embeddings": {
            "mean_norm": distances["mean_norm"],
            "scale": distances["scale"],
            "l2": {row["transform"]: row["l2_mean"] for row in distances["rows"]},
            "cosine": {row["transform"]: row["cosine_mean"] for row in distances["rows"]},
        },
        "attention_error": heads_card["attention_error"],
        "nouns": {
            "used": len(nouns_card["ids"]),
            "dropped": nouns_card["dropped"],
            **{f"block_{block}": values for block, values in summary.items()},
            "different_keys": {f"block_{block}": _variety(probe["key_ids"]) for block, probe in nouns.items()},
        },
        "bias_norms": _bias_norms(heads),
        "share_for_99_percent": {
            matrix: {
                f"block_{block}": float(
                    (reach(found[matrix]["values"]) / found[matrix]["values"].shape[1]).double().mean()
                )
                for block, found in heads.items()
            }
            for matrix in MATRICES
        },
        "trajectory": {"projection": path["projection"], **does_it_approach(path["approach"])},
    }


def _variety(key_ids: Tensor) -> list[int]:
    """Of the nearest keys (N, S, k) of nouns: how many different ones come first, by head, in order."""
    return sorted(len(set(first.tolist())) for first in key_ids[:, :, 0].T)


def _bias_norms(heads: Blocks) -> dict[str, list[float]]:
    """The least and the largest norm, over heads and blocks, of the two vectors that biases make; empty without."""
    norms = torch.cat([found["biases"]["norms"] for found in heads.values()])
    if not norms.any():
        return {}
    return {name: [float(column.min()), float(column.max())] for name, column in zip(VECTORS, norms.T, strict=True)}
