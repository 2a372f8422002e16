"""What the stages saved, put together: every table, text, figure and number of the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from character_embeddings import gradient, vectors
from character_embeddings.data import SCRIPTS, Data, load_data, load_network
from character_embeddings.network import CharacterModel
from character_embeddings.settings import Folders, Settings
from linear_shortcuts.files import artifacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = list[dict[str, Any]]

ORDER_NAMES = {2: "bigram", 3: "trigram", 4: "four_gram", 5: "five_gram"}
FIGURE_NAMES = {2: "bigram", 3: "trigram", 4: "4-gram", 5: "5-gram"}
DEMONSTRATION_SEED = 0  # of the random embedding whose gradient is worked out


# --- what the stages saved ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What stages 01 to 06 saved for one source of names."""

    source: str
    data: Data
    pairs: dict[str, int]  # for the network: train and validation
    counts: Table
    network: CharacterModel
    steps: dict[str, list[float]]  # loss and running mean of every step
    epochs: Table
    sweep: Table
    maps: Table

    @property
    def vectors(self) -> np.ndarray:
        """The learned vectors, (V, emb)."""
        return self.network.embedding.weight.detach().numpy()

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())


def load(settings: Settings) -> Found:
    """Load what the stages saved; an error names the stage to run first."""
    folders = Folders(settings.names)
    data = load_data(settings)
    network = load_network(folders.model, data.vocabulary)
    train, validation = data.pairs(network.block_size)
    steps = _read_lines(folders.model / "train_log.jsonl")
    return Found(
        source=settings.names,
        data=data,
        pairs={"train": len(train.targets), "validation": len(validation.targets)},
        counts=artifacts.load_json(folders.counts / "counts.json", made_by=f"{SCRIPTS}/02_count_models.py"),
        network=network,
        steps={key: [line[key] for line in steps] for key in ("loss", "running")},
        epochs=_read_lines(folders.model / "validation_log.jsonl"),
        sweep=[
            row
            for block_size in settings.sweep.block_sizes
            for embedding in settings.sweep.embeddings
            for row in artifacts.load_json(folders.sweep(block_size, embedding), made_by=f"{SCRIPTS}/05_sweep.py")
        ],
        maps=artifacts.load_json(folders.maps / "scores.json", made_by=f"{SCRIPTS}/06_fit_maps.py"),
    )


def _read_lines(path: Path) -> Table:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- tables and numbers ------------------------------------------------------------------------------------


def baselines(found: Found) -> Table:
    """One row a model: chance, the count models, and the network; losses in nats per character."""
    chance = math.log(len(found.data.vocabulary))
    last = found.epochs[-1]
    return [
        {"model": "uniform", "parameters": 0, "train": chance, "validation": chance},
        *(
            {"model": ORDER_NAMES[row["order"]], **{key: row[key] for key in ("parameters", "train", "validation")}}
            for row in found.counts
        ),
        {"model": "network", "parameters": found.parameters, "train": last["train"], "validation": last["validation"]},
    ]


def demonstration() -> gradient.Demonstration:
    return gradient.demonstrate(DEMONSTRATION_SEED)


def tables_of(found: Found, settings: Settings) -> dict[str, Table]:
    """Every table by its name."""
    shown = demonstration()
    return {
        "baselines": baselines(found),
        "epochs": found.epochs,
        "sweep": found.sweep,
        "sweep_means": sweep_means(found.sweep),
        "maps": found.maps,
        "neighbours": vectors.neighbours(found.vectors, found.data.vocabulary),
        "distances": [vectors.separation(found.vectors, found.data.vocabulary)],
        "gradient": [{"max_difference": shown.max_difference, "equal": shown.equal}],
        "tsne": _points(found, settings),
    }


def _points(found: Found, settings: Settings) -> Table:
    """One row a method and character: where t-SNE puts it."""
    vocabulary, rows = found.data.vocabulary, []
    for method in vectors.METHODS:
        points = vectors.tsne(found.vectors, settings.tsne.perplexity, settings.seed, method)
        for number, (token, (x, y)) in enumerate(zip(vocabulary.tokens, points, strict=True)):
            about = {"method": method, "character": token, "kind": vectors.kind(vocabulary, number)}
            rows.append({**about, "x": float(x), "y": float(y)})
    return rows


def sweep_means(sweep: Table) -> Table:
    """One row a block size and embedding size: mean validation loss over seeds, the least and the most."""
    cells: dict[tuple[int, int], list[float]] = {}
    for row in sweep:
        cells.setdefault((row["block_size"], row["embedding"]), []).append(row["validation"])
    return [
        {
            "block_size": block_size,
            "embedding": embedding,
            "seeds": len(values),
            "validation": float(np.mean(values)),
            "least": min(values),
            "most": max(values),
        }
        for (block_size, embedding), values in cells.items()
    ]


def metrics_of(found: Found) -> dict[str, Any]:
    """The numbers that sum the study up; losses on validation, in nats per character."""
    own = vectors.separation(found.vectors, found.data.vocabulary)
    shown = demonstration()
    return {
        "names": len(found.data.names),
        "characters": sum(map(len, found.data.names)),
        "vocabulary": len(found.data.vocabulary),
        "pairs_train": found.pairs["train"],
        "pairs_validation": found.pairs["validation"],
        **{ORDER_NAMES[row["order"]]: row["validation"] for row in found.counts},
        "mlp": found.epochs[-1]["validation"],
        "parameters": found.parameters,
        "mean_distance": own,
        "gradient_max_difference": shown.max_difference,
        "maps": {
            f"{row['source']}_{row['target']}": {key: row[key] for key in ("r2", "precision_at_1", "kl", "loss")}
            for row in found.maps
        },
        "sweep": {
            f"block_{row['block_size']}_embedding_{row['embedding']}": {
                key: row[key] for key in ("validation", "least", "most")
            }
            for row in sweep_means(found.sweep)
        },
    }


def plot_tables(found: Found) -> dict[str, Table]:
    """The tables that `dvc plots show` draws, by the name of their folder; `series` tells the lines apart."""
    return {
        "losses": [
            {"steps": line["steps"], "series": series, "panel": "by epoch", "value": line[key]}
            for line in found.epochs
            for series, key in (("train, running mean", "train"), ("validation", "validation"))
        ],
        "sweep": [
            {
                "embedding": line["embedding"],
                "series": f"block size {line['block_size']}",
                "panel": "validation",
                "value": line["validation"],
            }
            for line in sweep_means(found.sweep)
        ],
    }


# --- figures -----------------------------------------------------------------------------------------------


def figures_of(found: Found, records: Mapping[str, Table]) -> dict[str, Figure]:
    """Every figure by its name; records: the tables."""
    from character_embeddings import figures

    about = f"{found.source} names" if found.source == "generated" else found.source
    losses = {FIGURE_NAMES[row["order"]]: row["validation"] for row in found.counts}
    vocabulary = found.data.vocabulary
    points, axes = vectors.three_dimensions(found.vectors)
    planes = {
        method: np.array([(row["x"], row["y"]) for row in records["tsne"] if row["method"] == method])
        for method in vectors.METHODS
    }
    kinds = [vectors.kind(vocabulary, number) for number in range(len(vocabulary))]
    return {
        "losses": figures.losses(found.steps, found.epochs, losses, about),
        "embeddings": figures.embeddings(points, planes, vocabulary.tokens, kinds, axes, about),
        "gradient": figures.gradient_identity(demonstration()),
        "architecture": figures.architecture(found.network, vocabulary, *_example(found)),
        "sweep": figures.sweep(found.sweep, losses, about),
        "maps": figures.maps(found.maps, found.epochs[-1]["validation"], losses, about),
    }


def _example(found: Found) -> tuple[str, np.ndarray]:
    """The context of the architecture's figure, and what the network makes of it."""
    size = found.network.block_size
    context = ("." * size + "ner")[-size:]
    with torch.inference_mode():
        logits = found.network(torch.tensor([found.data.vocabulary.encode(context)]))
    return context, logits[0].softmax(0).numpy()
