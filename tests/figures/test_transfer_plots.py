"""The figure of transfer draws each kind of maps for each corpus, to the same bytes."""

from linear_shortcuts.figures import printing
from linear_shortcuts.figures.transfer_plots import draw_transfer


def test_every_kind_of_maps_has_its_line_and_the_means_have_none(tmp_path):
    table = [
        {"panel": panel, "corpus": corpus, "maps": name, "layer": layer, "value": 0.5, "low": 0.4, "high": 0.6}
        for panel in ("Precision@1", "KL")
        for corpus in ("books", "news")
        for name in ("own", "other", "half")
        for layer in (0, 2, None)
    ]
    for folder in ("one", "two"):
        figure = draw_transfer(table, "a model")
        assert len(figure.axes) == 4
        lines = figure.axes[0].get_lines()
        assert [line.get_label() for line in lines] == [
            "its own maps",
            "refitted on half of it",
            "maps of the other corpus",
        ]
        assert all(line.get_xdata().tolist() == [0, 2] for line in lines)
        printing.save(figure, {"svg": tmp_path / folder}, "transfer")
    assert (tmp_path / "one" / "transfer.svg").read_bytes() == (tmp_path / "two" / "transfer.svg").read_bytes()
