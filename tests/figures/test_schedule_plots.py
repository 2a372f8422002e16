"""The figures of schedules draw every series of the table there is, to the same bytes."""

from linear_shortcuts.figures import printing
from linear_shortcuts.figures.schedule_plots import draw_schedules
from linear_shortcuts.scores.tables import KL, LOSS


def invented(panels):
    series = ["full", *(f"{kind} {how}" for kind in ("best", "chance", "attention") for how in ("mapped", "dropped"))]
    return [
        {"panel": panel, "series": name, "blocks": blocks, "value": None if lost else 2.0, "low": 1.0, "high": 3.0}
        for panel in panels
        for name in series
        for blocks in ([4] if name == "full" else [0, 2])
        for lost in [name == "best dropped" and blocks == 0]  # which diverged
    ]


def test_every_series_is_drawn_with_a_gap_where_it_diverged(tmp_path):
    table = invented(("Precision@1", KL, LOSS))
    for folder in ("one", "two"):
        figures = draw_schedules(table, "model on corpus")
        assert {name: len(figure.axes) for name, figure in figures.items()} == {"schedules_4": 3, "attention_4": 3}
        labels = [line.get_label() for line in figures["schedules_4"].axes[0].get_lines()]
        assert {"best by r², mapped", "by chance, dropped"} <= set(labels)
        for name, figure in figures.items():
            printing.save(figure, {"svg": tmp_path / folder}, name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_masked_model_has_no_perplexity_and_an_encoder_no_figures():
    assert len(draw_schedules(invented(("Precision@1", KL)), "x")["attention_4"].axes) == 2
    assert draw_schedules([], "x") == {}
