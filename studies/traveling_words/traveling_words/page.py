"""The trajectory as one self-contained HTML page that can be turned: plotly's own code is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from linear_shortcuts.files import InputError
from traveling_words.figures import PATH, STATE, WORD, layer_name
from traveling_words.formats import visible


def trajectory_page(path: Mapping[str, Any], tokens: Sequence[str], about: str) -> str:
    """A three-dimensional scatter of word vectors and states, with a slider over the layers. Needs no network."""
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise InputError("plotly is not installed; install the extra `studies` of this project") from error
    words, states, follow = path["words"], path["states"], path["follow"]
    names = [escape(visible(token)) for token in tokens]
    traces = [_points(go, words, names, WORD, "circle", 4, "word vectors", "text+markers")]
    for stage in range(len(states)):
        traces.append(_points(go, states[stage], names, STATE, "diamond", 3, "states", "markers"))
        walked = states[1 : stage + 1, follow]
        layers = [layer_name(layer) for layer in range(1, stage + 1)]
        traces.append(_points(go, walked, layers, PATH, "circle", 3, f"path of {names[follow]}", "lines+markers"))
    shown = len(states) - 1  # the whole path first
    for number, trace in enumerate(traces[1:]):
        trace.visible = number // 2 == shown
    steps = [
        {
            "label": layer_name(stage),
            "method": "restyle",
            "args": ["visible", [True, *(number // 2 == stage for number in range(len(traces) - 1))]],
        }
        for stage in range(len(states))
    ]
    bare = {"showticklabels": False, "title": {"text": ""}, "backgroundcolor": "#f7f7f7", "gridcolor": "#dddddd"}
    bare |= {"showspikes": False}
    every = [array.reshape(-1, 3) for array in (words, states)]
    low = [min(float(array[:, axis].min()) for array in every) for axis in range(3)]
    high = [max(float(array[:, axis].max()) for array in every) for axis in range(3)]
    ranges = [[a - 0.05 * (b - a), b + 0.05 * (b - a)] for a, b in zip(low, high, strict=True)]
    title = f"The phrase in three dimensions by {path['projection']}, {escape(about)}"
    figure = go.Figure(traces)
    figure.update_layout(
        title={"text": title},
        template="none",
        margin={"l": 60, "r": 60, "t": 60, "b": 20},
        legend={"x": 0.01, "y": 0.98},
        scene={
            **{f"{name}axis": {**bare, "range": limits} for name, limits in zip("xyz", ranges, strict=True)},
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.2, "y": -1.35, "z": 0.75}},
        },
        sliders=[{"active": shown, "steps": steps, "currentvalue": {"prefix": "states: "}, "pad": {"t": 20}}],
    )
    # A fixed id, since plotly's own differs from run to run; its code goes into the page.
    return figure.to_html(include_plotlyjs=True, full_html=True, div_id="trajectory", default_height="95vh")


def _points(
    go: Any, points: Any, names: Sequence[str], color: str, symbol: str, size: int, name: str, mode: str
) -> Any:
    x, y, z = (points[:, axis].tolist() for axis in range(3))
    return go.Scatter3d(
        x=x, y=y, z=z, text=list(names), name=name, mode=mode, hoverinfo="text+name",
        textfont={"color": color, "size": 12}, line={"color": color, "width": 4},
        marker={"color": color, "size": size, "symbol": symbol},
    )  # fmt: skip
