"""Two runs side by side: against counting, and narrower where the sentences are the same."""

from dataclasses import replace

import pytest
import torch

from linear_shortcuts import InputError
from linear_shortcuts.scores.comparison import Run, compare, paired


def run(seed=0, layers=3, right=0.5, n=400, **made_from):
    """A run whose exit of every layer is right for a share of the sentences, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    full = torch.randint(100, (n, 10), generator=generator)
    full[:, 0] = torch.arange(n)
    records = []
    for mapping in ("id", "mat"):
        for layer in range(layers + 1):
            hit = (torch.rand(n, generator=generator) < right) | (layer == layers)
            ids = torch.where(hit[:, None], full, full + 10_000)
            records.append({"mapping": mapping, "layer": layer, "top_ids": ids})
    corpus = {"name": "text", "sentences_sha256": "1" * 64}
    made = {"layers": layers, "corpus": corpus, "split": "validation", "sentences": n, "tokens_sha256": f"{seed}"}
    return Run(records, {"made_from": {**made, **made_from}})


def test_shares_and_differences_are_those_of_counting():
    a, b = run(0), run(1, right=0.8)
    for record in compare(a, b):
        layer, mapping = record["layer_a"], record["mapping"]
        assert record["layer_b"] == layer
        shares = []
        for own in (a, b):
            by_layer = {r["layer"]: r["top_ids"] for r in own.records if r["mapping"] == mapping}
            rows = zip(by_layer[layer].tolist(), by_layer[3].tolist(), strict=True)
            shares.append(sum(exit[0] == full[0] for exit, full in rows) / 400)
        assert (record["a"], record["b"]) == pytest.approx(tuple(shares))
        assert record["difference"] == pytest.approx(shares[1] - shares[0])
        assert record["low"] < record["difference"] < record["high"]
        assert record["low"] > 0.15


def test_a_run_against_itself_differs_by_nothing_at_all():
    for record in compare(run(), run()):
        assert record["difference"] == record["low"] == record["high"] == 0


def test_other_sentences_are_not_paired_and_their_interval_is_the_normal_one():
    a, b = run(), run(0, corpus={"name": "other", "sentences_sha256": "2" * 64}, tokens_sha256="x")
    assert paired(a, run(1))
    assert not paired(a, b)
    for record in compare(a, b):
        p = record["a"]
        half = 1.96 * (2 * p * (1 - p) / 400) ** 0.5
        assert record["difference"] == 0
        assert (record["low"], record["high"]) == pytest.approx((-half, half), rel=0.15, abs=0.004)


def test_unknown_sentences_are_not_the_same():
    nobody = {"name": "x", "sentences_sha256": None}
    assert not paired(run(0, corpus=nobody), run(1, corpus=nobody))


def test_runs_of_other_depth_meet_at_shares_of_it():
    found = {(r["layer_a"], r["layer_b"]) for r in compare(run(layers=4), run(1, layers=8))}
    assert found == {(0, 0), (1, 2), (2, 4), (3, 6)}


def test_sentence_encoders_are_refused():
    a = run()
    encoder = replace(a, records=[{**record, "recall": None, "cosine": None} for record in a.records])
    for record in encoder.records:
        del record["top_ids"]
    with pytest.raises(InputError, match="a sentence encoder names no token"):
        compare(a, encoder)
