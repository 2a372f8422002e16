"""Tables say what they claim."""

import json

import numpy as np
import pytest
from invented import LAYERS

from linear_shortcuts.scores import tables


def test_means_lie_in_their_intervals_and_equal_a_plain_average(results):
    fixed, _, _, exits, _ = results
    full = fixed[LAYERS]["top_ids"]
    for record in exits:
        assert record["low"] <= record["value"] <= record["high"]
    at = {(r["mapping"], r["layer"]): r["value"] for r in exits if r["panel"] == "Precision@5"}
    for record in fixed:
        hits = [int(guess) in top[:5].tolist() for guess, top in zip(record["top_ids"][:, 0], full, strict=True)]
        assert at[record["mapping"], record["layer"]] == pytest.approx(np.mean(hits))


def test_the_difference_of_r2_is_the_difference(results):
    _, _, r2, _, _ = results
    assert [r["r2"] for r in r2 if r["mapping"] == "mat-id"] == pytest.approx([1.3] * 6)
    assert [r["total"] for r in r2 if r["mapping"] == "mat-id"] == pytest.approx([0.5] * 6)


def test_a_fixed_exit_costs_its_blocks_and_one_read_out(results):
    _, _, _, _, early_exit = results
    costs = {(r["mapping"], r["setting"]): r["relative_cost"] for r in early_exit if r["exit"] == "fixed"}
    assert costs["id", "layer 0"] == pytest.approx(3 / 33)
    assert costs["mat", "layer 2"] == pytest.approx((20 + 3 + 2) / 33)
    assert costs["mat", "layer 3"] == 1


def test_metrics_sum_the_model_up_under_names_that_no_setting_changes(results):
    _, early, r2, exits, _ = results
    metrics = tables.metrics("c", r2, exits, early, 0.95)
    assert metrics["mat"]["r2"] == pytest.approx(0.8, abs=0.0005)
    by_layer = [r["value"] for r in tables.select(exits, ["mat"], ["Precision@1"])]
    assert metrics["mat"]["p1_50"] == pytest.approx((by_layer[1] + by_layer[2]) / 2, abs=0.0051)
    assert 0 <= metrics["mat"]["saved"] < 1
    never = tables.metrics("c", r2, exits, [r for r in early if r["lambda"] < 0], 0.95)
    assert (never["mat"]["saved"], never["mat"]["flops"]) == (None, None)
    json.dumps(metrics, allow_nan=False)
    other = tables.metrics("c", r2, exits, early, 0.9)
    assert (metrics["precision"], other["precision"]) == (0.95, 0.9)
    assert metrics["mat"].keys() == other["mat"].keys()


def test_metrics_have_the_digits_that_another_processor_shares(results):
    _, early, r2, exits, _ = results
    moved = [record | {"r2": record["r2"] * (1 + 1e-6)} for record in r2]
    metrics = tables.metrics("c", moved, exits, early, 0.95)
    assert [metrics[mapping]["r2"] for mapping in ("mat", "id")] == [0.8, -0.5]
    shares = [value for mapping in ("mat", "id") for name, value in metrics[mapping].items() if name != "r2"]
    assert shares == [None if value is None else round(value, 2) for value in shares]


def test_every_record_of_a_plot_table_has_every_key(results):
    _, _, r2, exits, early_exit = results
    made = tables.plot_tables(r2, exits, early_exit)
    assert set(made) == {"r2", "precision", "surprisal", "parts", "early_exit", "cost", "embeddings"}
    assert [name for name, table in made.items() if not table] == ["embeddings"]  # of a model that predicts
    for table in made.values():
        assert all(record.keys() == table[0].keys() for record in table)


def test_printed_tables_are_markdown(results):
    _, early, _, exits, _ = results
    lines = tables.by_layer(exits, "Precision@1").splitlines()
    assert lines[0] == "| layer | id | mat | mat_attn | mat_ffn | mat_ln1_ln2 | mat − id |"
    assert len(lines) == 2 + LAYERS + 1
    assert len(tables.by_lambda(early).splitlines()) == 2 + len(early)
