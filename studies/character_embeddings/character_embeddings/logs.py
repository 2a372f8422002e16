"""What the stages print and log as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from character_embeddings.network import Summary
from character_embeddings.settings import Training
from character_embeddings.training import Record, running_mean
from linear_shortcuts.files import artifacts, atomic


def epoch_line(line: Mapping[str, float], epochs: int) -> str:
    """One epoch as it is printed: its number of all, running train loss, validation loss.

    >>> epoch_line({"epoch": 3, "train": 2.41708, "validation": 2.41541}, 15)
    'epoch 03/15  train 2.4171  validation 2.4154'
    """
    number = f"{line['epoch']:0{len(str(epochs))}d}"
    return f"epoch {number}/{epochs}  train {line['train']:.4f}  validation {line['validation']:.4f}"


def save_training(folder: Path, saved: Mapping[str, Any], record: Record, settings: Training, summary: Summary) -> None:
    """Write the network and its two logs, a JSON object a line, and the summary of its layers."""
    steps = int(record.epochs[0]["steps"])
    running = running_mean(record.losses, steps, settings.running_share)
    lines = (
        {"step": step, "loss": round(loss, 6), "running": round(mean, 6)}
        for step, (loss, mean) in enumerate(zip(record.losses, running, strict=True), start=1)
    )
    artifacts.save(folder / "model.pickle", dict(saved))
    _save_text(folder / "train_log.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    _save_text(folder / "validation_log.jsonl", "".join(f"{json.dumps(line)}\n" for line in record.epochs))
    _save_text(folder / "summary.txt", f"{summary}\n")


def names_text(columns: Mapping[str, Sequence[str]]) -> str:
    """New names, a row a seed and a column a model."""
    rows = [("seed", *columns), *((str(seed), *row) for seed, row in enumerate(zip(*columns.values(), strict=True)))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = (("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in cells)


def _save_text(path: Path, text: str) -> None:
    with atomic.atomic_file(path) as file:
        file.write(text.encode())
