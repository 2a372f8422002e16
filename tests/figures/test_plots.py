"""Figures bear the study's names and are reproducible to the byte."""

import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from invented import BOOTSTRAP, LAYERS, SAMPLES

from linear_shortcuts.figures import plots, printing
from linear_shortcuts.scores import tables


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


@pytest.mark.parametrize("template", ["exit_lines", "exit_nats", "exit_parts", "early_exit"])
def test_a_mapping_has_the_same_colour_on_the_page_of_plots_as_in_the_figures(template):
    path = Path(__file__).parents[2] / ".dvc" / "plots" / f"{template}.json"
    encoding = json.loads(path.read_text(encoding="utf-8"))
    scale = encoding.get("spec", encoding)["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)).items() <= plots.COLORS.items()


def test_a_band_stays_within_what_its_value_can_be():
    figure, axis = plt.subplots()
    rows = [{"step": 0, "value": 0.98, "low": 0.9, "high": 1.06}, {"step": 1, "value": 0.1, "low": -0.1, "high": 0.3}]
    printing.line_with_band(axis, rows, "step", "value", (0, 1), color="k")
    corners = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (0, 1)
    plt.close(figure)


def test_a_legend_below_has_every_label_of_its_panels_once():
    figure, axes = plt.subplots(1, 2)
    for axis, names in zip(axes, (("a", "b"), ("b", "c")), strict=True):
        for name in names:
            axis.plot([0, 1], label=name)
    printing.label_below(figure, axes, 3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    plt.close(figure)
