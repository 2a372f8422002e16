"""Tables say what they claim, figures bear the study's names and are reproducible to the byte."""

import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from linear_shortcuts.figures import plots, printing
from linear_shortcuts.models.cost import Cost
from linear_shortcuts.scores import tables
from linear_shortcuts.scores.early_exit import sweep
from linear_shortcuts.settings.params import Bootstrap

LAYERS, SAMPLES = 3, 50
BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95)
COST = Cost(blocks=torch.full((LAYERS, SAMPLES), 10.0, dtype=torch.float64), head=3.0, jump=2.0)


@pytest.fixture(scope="module")
def results():
    """Read-outs that get better with depth, as real ones do, and what is made of them."""
    rng = np.random.default_rng(0)
    truth = np.stack([rng.permutation(40)[:10] for _ in range(SAMPLES)])
    fixed = []
    for mapping in ("id", "mat", "mat_attn", "mat_ffn", "mat_ln1_ln2"):
        for layer in range(LAYERS + 1):
            share = layer / LAYERS if mapping == "id" else 0.3 + 0.7 * layer / LAYERS
            right = rng.random(SAMPLES) < share
            other = np.stack([rng.permutation(40)[:10] for _ in range(SAMPLES)])
            fixed.append(
                {
                    "mapping": mapping,
                    "layer": layer,
                    "mean_layers": float(layer),
                    "top_ids": torch.from_numpy(np.where(right[:, None], truth, other)),
                    "top_probabilities": torch.from_numpy(np.sort(rng.random((SAMPLES, 2)))[:, ::-1].copy()),
                    "surprisal": torch.from_numpy(rng.random(SAMPLES) + 3 * (1 - share)),
                    "kl": torch.from_numpy(rng.random(SAMPLES) * (1 - share)),
                }
            )
    early = []
    for mapping in ("mat", "id"):
        own = [record for record in fixed if record["mapping"] == mapping]
        early += sweep(own, torch.arange(SAMPLES), [-1.112, 0.3, 0.6, 1.112], mapping, COST)
    pairs = [(i, j) for i in range(LAYERS) for j in range(i + 1, LAYERS + 1)]
    r2 = tables.r2_table(
        {key: dict.fromkeys(pairs, v) for key, v in zip(tables.R2, (0.8, -0.5, 0.9, 0.4), strict=True)}
    )
    exits = tables.exits_table(fixed, BOOTSTRAP, 0)
    return fixed, early, r2, exits, tables.early_exit_table(early, fixed, COST, BOOTSTRAP, 0)


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
    assert set(made) == {"r2", "precision", "surprisal", "parts", "early_exit", "cost"}
    for table in made.values():
        assert table
        assert all(record.keys() == table[0].keys() for record in table)


def test_printed_tables_are_markdown(results):
    _, early, _, exits, _ = results
    lines = tables.by_layer(exits, "Precision@1").splitlines()
    assert lines[0] == "| layer | id | mat | mat_attn | mat_ffn | mat_ln1_ln2 | mat − id |"
    assert len(lines) == 2 + LAYERS + 1
    assert len(tables.by_lambda(early).splitlines()) == 2 + len(early)


def test_every_figure_of_the_study_is_drawn_twice_to_the_same_bytes(results, tmp_path):
    _, _, r2, exits, early_exit = results
    for folder in ("one", "two"):
        figures = plots.draw_all(r2, exits, early_exit, 0.95, "model on corpus")
        for name, figure in figures.items():
            printing.save(figure, {"svg": tmp_path / folder, "pdf": tmp_path / folder}, name)
    named = {
        "r2_scores",
        "pre",
        "surp",
        "kl",
        "parts_pre1",
        "parts_pre5",
        "parts_pre10",
        "parts_surp",
        "ee_pre1",
        "cost",
    }
    made = sorted((tmp_path / "one").iterdir())
    assert {path.stem for path in made} == {f"{name}_{LAYERS}" for name in named}
    assert len(made) == 2 * len(named)
    for path in made:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_what_diverged_is_left_out_of_means_and_stated(results, tmp_path):
    fixed, early, r2, _, early_exit = results
    nan = float("nan")
    some = [dict(record) for record in fixed]
    for record in some:
        if record["mapping"] == "mat_ln1_ln2":  # read of the first 40 sentences alone
            record |= {key: record[key][:40].clone() for key in ("top_ids", "surprisal", "kl")}
            record["top_ids"][: 40 - 10 * record["layer"]] = -1
            record["surprisal"][: 40 - 10 * record["layer"]] = nan
            record["kl"][: 40 - 10 * record["layer"]] = nan
        elif record["mapping"] == "id" and record["layer"] == 1:
            record |= {"kl": torch.where(torch.arange(SAMPLES) < 5, nan, record["kl"])}
    exits = tables.exits_table(some, BOOTSTRAP, 0)
    at = {(r["panel"], r["mapping"], r["layer"]): r for r in exits}
    assert at[tables.KL, "mat_ln1_ln2", 0]["value"] is None  # nothing is left
    assert at["Precision@1", "mat_ln1_ln2", 0]["value"] == 0
    half = at[tables.KL, "mat_ln1_ln2", 2]
    assert (half["samples"], half["diverged"]) == (40, 0.5)
    kl = {(r["mapping"], r["layer"]): r["kl"] for r in some}
    assert half["value"] == pytest.approx(float(kl["mat_ln1_ln2", 2][20:].mean()))
    assert half["low"] < half["value"] < half["high"]
    paired = at[tables.KL, "mat-id", 1]  # where both are numbers
    assert paired["value"] == pytest.approx(float((kl["mat", 1] - kl["id", 1])[5:].mean()))
    assert paired["diverged"] == pytest.approx(0.1)
    assert tables.divergence(exits, ["mat", "mat_ln1_ln2"]) == "mat_ln1_ln2 diverges for up to 100.0% of sentences"
    assert tables.divergence(exits, ["mat", "mat_ffn"]) == ""
    json.dumps(tables.plot_tables(r2, exits, early_exit), allow_nan=False)
    assert "–" in tables.by_layer(exits, tables.KL).splitlines()[2]
    figures = plots.draw_all(r2, exits, early_exit, 0.95, "model on corpus")
    assert "diverges" in figures[f"parts_surp_{LAYERS}"].axes[0].get_title()
    printing.save(figures[f"parts_surp_{LAYERS}"], {"svg": tmp_path}, "one")


def test_an_exit_that_diverged_is_never_confident(results):
    fixed, *_ = results
    own = [dict(record) for record in fixed if record["mapping"] == "mat"]
    own[1] |= {"top_probabilities": torch.full((SAMPLES, 2), float("nan"))}
    assert 1 not in sweep(own, torch.arange(SAMPLES), [-1.112], "mat", COST)[0]["exit_layers"]


def test_ticks_follow_the_study():
    assert [printing.tick_step(layers) for layers in (6, 12, 24, 36, 48)] == [1, 2, 3, 4, 6]


def test_text_is_text_and_a_figure_says_what_it_shows(results, tmp_path):
    _, _, r2, exits, early_exit = results
    figures = plots.draw_all(r2, exits, early_exit, 0.95, "model on corpus")
    titles = [figure.get_suptitle() or figure.axes[0].get_title() for figure in figures.values()]
    assert len(set(titles)) == len(titles)
    printing.save(figures[f"parts_pre1_{LAYERS}"], {"svg": tmp_path}, "parts")
    drawn = (tmp_path / "parts.svg").read_text()
    for words in ("Precision@1, parts replaced by matrices", "exit layer", "mat_ln1_ln2: norms"):
        assert words in drawn


def test_mappings_differ_in_mark_line_and_grey(results):
    greys = {
        name: np.dot(matplotlib.colors.to_rgb(color), (0.299, 0.587, 0.114)) for name, color in plots.COLORS.items()
    }
    assert len(set(plots.MARKS.values())) == len(set(map(str, plots.LINES.values()))) == len(plots.COLORS)
    assert abs(greys["mat"] - greys["id"]) > 0.1


def test_a_difference_is_white_at_zero_and_never_cut(results):
    pairs = [(0, 1), (0, 2), (1, 2)]
    mat, unchanged = dict.fromkeys(pairs, 0.5), {(0, 1): 0.5, (0, 2): -40.0, (1, 2): 0.9}
    table = tables.r2_table(dict(zip(tables.R2, (mat, unchanged, mat, unchanged), strict=True)))
    figure, axis = plt.subplots()
    image = plots.heatmap(axis, table, "mat-id", 2)
    assert image.to_rgba(0.0)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    assert image.norm.vmax == -image.norm.vmin == 40.5
    shades = [image.to_rgba(value)[2] for value in (-0.4, 0.0, 0.4, 4.0, 40.5)]
    assert len({round(shade, 2) for shade in shades}) == 5
    plt.close(figure)


@pytest.mark.parametrize("template", ["exit_lines", "exit_parts", "early_exit"])
def test_a_mapping_has_the_same_colour_on_the_page_of_plots_as_in_the_figures(template):
    path = Path(__file__).parents[2] / ".dvc" / "plots" / f"{template}.json"
    encoding = json.loads(path.read_text(encoding="utf-8"))
    scale = encoding.get("spec", encoding)["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)).items() <= plots.COLORS.items()
