"""A reading as one HTML file that needs nothing of the web."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


def render(reading: Mapping[str, Any]) -> str:
    """The page of a reading, as `Reading.as_dict` gives it; what a text says is shown and never run."""
    template = resources.files("linear_shortcuts.peek").joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(reading, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    title = html.escape(f"{reading['model']}: {reading['text']}")
    before, _, after = template.partition("{{data}}")
    return before.replace("{{title}}", title) + data + after
