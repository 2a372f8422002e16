"""The tables of the README that are made from numbers which git tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from character_embeddings.settings import STUDY, Folders
from linear_shortcuts.files import artifacts
from linear_shortcuts.scores import tables

PAGE = STUDY / "README.md"
SURNAMES = Folders("surnames")
KEPT = SURNAMES.metrics.with_name("tables.json")  # of a run on the surnames, which not everyone has
PUBLISHED = {"bigram": 2.5103, "trigram": 2.3533, "four_gram": 2.4070, "network": 2.3254}  # validation, nats
NAMES = {"four_gram": "4-gram", "network": "network, 3 characters, 3 numbers each"}

Rows = Sequence[Mapping[str, Any]]


def keep() -> None:
    """Take the tables of the last run on the surnames into `KEPT`: of the models, of epochs, and of the sweep."""
    names = ("baselines", "epochs", "sweep", "sweep_means")
    stage = f"{STUDY}/07_report.py, with names: surnames,"
    artifacts.save_json(
        KEPT, {name: artifacts.load_json(SURNAMES.tables / f"{name}.json", made_by=stage) for name in names}
    )


def parts() -> dict[str, str]:
    """Every made part of the page, by name."""
    generated, kept = artifacts.load_json(Folders("generated").metrics), artifacts.load_json(KEPT)
    own = {size(name): found for name, found in generated["sweep"].items()}
    surnames = {(row["block_size"], row["embedding"]): row for row in kept["sweep_means"]}
    return {
        "losses": loss_table(kept["baselines"]),
        "sweep": sweep_table(own),
        "surnames-sweep": sweep_table(surnames),
    }


def size(name: str) -> tuple[int, int]:
    """Block size and embedding size of `block_N_embedding_M`."""
    block, embedding = map(int, name.split("_")[1::2])
    return block, embedding


def loss_table(models: Rows) -> str:
    """A row a model: its parameters and losses, in nats per character, beside those that were published."""
    rows: list[list[Any]] = []
    for row in models:
        losses = [f"{row[key]:.4f}" for key in ("train", "validation")]
        published = f"{PUBLISHED[row['model']]:.4f}" if row["model"] in PUBLISHED else ""
        rows.append([NAMES.get(row["model"], row["model"]), f"{row['parameters']:,}", *losses, published])
    return tables.markdown(["model", "parameters", "train", "validation, nats per character", "published"], rows)


def sweep_table(cells: Mapping[tuple[int, int], Mapping[str, float]]) -> str:
    """A row a block size, a column an embedding size: mean validation loss, the least and the most."""
    blocks, embeddings = (sorted({size[place] for size in cells}) for place in (0, 1))
    header = ["characters", *(f"{number} number{'s' * (number > 1)}" for number in embeddings)]
    rows: list[list[Any]] = []
    for block in blocks:
        own = [cells[block, number] for number in embeddings]
        rows.append([block, *(f"{row['validation']:.4f} [{row['least']:.4f}–{row['most']:.4f}]" for row in own)])
    return tables.markdown(header, rows)
