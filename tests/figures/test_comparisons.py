"""The figure of two runs: every mapping's differences, at their depth."""

import pytest

from linear_shortcuts.figures.comparisons import comparison_figure
from linear_shortcuts.figures.plots import LABELS


def test_a_line_per_mapping_runs_through_the_differences():
    table = [
        {"mapping": mapping, "layer_a": layer, "difference": 0.1 * layer - shift, "low": -0.5, "high": 0.5}
        for mapping, shift in (("id", 0.0), ("mat", 0.2))
        for layer in range(4)
    ]
    figure = comparison_figure(table, 4, "b against a")
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines[LABELS["mat"]] == [pytest.approx([layer / 4, 0.1 * layer - 0.2]) for layer in range(4)]
    assert lines[LABELS["id"]] == [pytest.approx([layer / 4, 0.1 * layer]) for layer in range(4)]
