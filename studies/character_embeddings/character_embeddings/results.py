"""The table of the README that is made from metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from character_embeddings.settings import STUDY

PAGE = STUDY / "README.md"


def parts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The made part of the page: a row a block size, a column an embedding size."""
    cells = {tuple(map(int, name.split("_")[1::2])): found for name, found in metrics["sweep"].items()}
    blocks, embeddings = (sorted({size[place] for size in cells}) for place in (0, 1))
    rows = [
        ["characters", *(f"{size} number{'s' * (size > 1)}" for size in embeddings)],
        ["---"] * (len(embeddings) + 1),
    ]
    for block in blocks:
        own = [cells[block, size] for size in embeddings]
        shown = [f"{found['validation']:.4f} [{found['least']:.4f}–{found['most']:.4f}]" for found in own]
        rows.append([str(block), *shown])
    return {"sweep": "\n".join(f"| {' | '.join(row)} |" for row in rows)}
