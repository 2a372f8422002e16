"""What stages 04 and 05 saved, put together: tables, numbers and figures of the experiments on text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shortcuts import artifacts
from tied_embeddings import clones, language_models
from tied_embeddings.settings import STUDY, VARIANTS
from tied_embeddings.text_settings import Clones, LanguageModels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = list[dict[str, Any]]

# --- cloned words ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clonings:
    """What stage 04 saved: for tied and untied, distances between words and clones over the steps, and the log."""

    corpus: str
    words: list[str]
    steps: dict[str, list[int]]  # variant -> R
    distances: dict[str, dict[str, Tensor]]  # variant -> matrix -> (R, 2W, 2W)
    logs: dict[str, Table]  # variant -> R lines
    pairs: Tensor  # (p, 2) random pairs of different words

    @property
    def curves(self) -> dict[str, tuple[str, str]]:
        """The lines to draw, name -> variant and matrix; of a tied model there is one matrix."""
        return {"tied": ("tied", "input"), "untied, input": ("untied", "input"), "untied, output": ("untied", "output")}

    def of_pairs(self, variant: str, matrix: str, kind: str) -> Tensor:
        """Distances (R, p) of the pairs of a kind: `clones` (p = W) or `random`."""
        all_pairs, words = self.distances[variant][matrix], len(self.words)
        if kind == "clones":
            return all_pairs[:, :words, words:].diagonal(dim1=1, dim2=2)
        return all_pairs[:, self.pairs[:, 0], self.pairs[:, 1]]

    def found(self, variant: str, matrix: str) -> Tensor:
        """The share of words (R,) whose nearest of all other words and clones is their own clone."""
        words = len(self.words)
        others = self.distances[variant][matrix] + torch.diag(torch.full((2 * words,), torch.inf))
        return (others.argmin(2)[:, :words] == torch.arange(words, 2 * words)).double().mean(1)


def load_clonings(settings: Clones) -> Clonings:
    made_by = f"{STUDY}/04_train_on_cloned_words.py"
    saved = {
        variant: artifacts.load_mapping(clones.recorded(settings.corpus, variant), "words", "log", made_by=made_by)
        for variant in VARIANTS
    }
    words = saved["tied"]["words"]
    return Clonings(
        settings.corpus,
        words,
        {variant: saved[variant]["steps"] for variant in VARIANTS},
        {variant: {name: saved[variant][name] for name in ("input", "output")} for variant in VARIANTS},
        {variant: saved[variant]["log"] for variant in VARIANTS},
        clones.random_pairs(len(words), settings.random_pairs, settings.seed),
    )


def clone_table(found: Clonings) -> Table:
    """One row a matrix, kind of pair and recorded step: mean distance, its 95 % interval over pairs, and the share found.

    The interval is that of a mean over independent pairs, 1.96 standard errors.
    """
    rows = []
    for curve, (variant, matrix) in found.curves.items():
        share = found.found(variant, matrix)
        for kind in ("clones", "random"):
            lengths = found.of_pairs(variant, matrix, kind).double()
            half = 1.96 * lengths.std(1) / lengths.shape[1] ** 0.5
            for row, step in enumerate(found.steps[variant]):
                mean = float(lengths[row].mean())
                rows.append(
                    {
                        "embeddings": curve,
                        "pairs": kind,
                        "step": step,
                        "distance": mean,
                        "low": mean - float(half[row]),
                        "high": mean + float(half[row]),
                        "nearest_is_clone": float(share[row]),
                    }
                )
    return rows


def clone_metrics(found: Clonings) -> dict[str, Any]:
    """The last row of every line: distances, their ratio, the share found, and the validation loss without the coin."""
    table = clone_table(found)
    result: dict[str, Any] = {}
    for curve, (variant, _) in found.curves.items():
        last = {row["pairs"]: row for row in table if row["embeddings"] == curve and row["step"] == found.steps[variant][-1]}
        result[curve.replace(", ", "_")] = {
            "clones": last["clones"]["distance"],
            "random": last["random"]["distance"],
            "ratio": last["clones"]["distance"] / last["random"]["distance"],
            "nearest_is_clone": last["clones"]["nearest_is_clone"],
        }
    for variant in VARIANTS:
        line = found.logs[variant][-1]
        result[f"loss_{variant}"] = line["loss"] - line["coin"]
        result[f"accuracy_{variant}"] = line["accuracy"]
    return {"steps": found.steps["tied"][-1], "coin": found.logs["tied"][-1]["coin"], **result}


# --- language models ---------------------------------------------------------------------------------------

WINDOWS = 20  # parts of a training over which losses are averaged


@dataclass(frozen=True)
class Measured:
    """What stage 05 saved of one model."""

    label: str
    shape: str  # or the key of the registry
    variant: str | None  # of a model trained here
    measures: dict[str, Any]
    losses: Tensor | None  # (steps,)

    @property
    def held_out(self) -> float | None:
        about = self.measures["about"]
        return about["held_out"]["loss"] if "held_out" in about else None


def load_measured(settings: LanguageModels) -> list[Measured]:
    made_by = f"{STUDY}/05_measure_language_models.py"
    wanted: list[tuple[str, str | None]] = [(shape, variant) for shape in settings.shapes for variant in VARIANTS]
    found = []
    for shape, variant in [*wanted, *((name, None) for name in settings.registered)]:
        label = f"{shape}_{variant}" if variant else shape
        folder = language_models.folder_of(settings.corpus, label)
        measures = artifacts.load_json(folder / "measures.json", made_by=made_by)
        losses = artifacts.load(folder / "losses.pickle", made_by=made_by) if variant else None
        found.append(Measured(label, shape, variant, measures, losses))
    return found


def agreement_table(found: list[Measured]) -> Table:
    """One row a model: sizes, loss, how alike its embeddings are, and how each follows each role of tokens in the text."""
    return [
        {
            "model": model.label,
            "tied": model.measures["tied"],
            "causal": model.measures["causal"],
            "parameters": model.measures["parameters"],
            "held_out_loss": model.held_out,
            **model.measures["agreement"],
            **{
                f"{learned}_follows_{counted}": value
                for learned, row in model.measures["learned_and_counted"].items()
                for counted, value in row.items()
            },
            "text_agreement": model.measures["text_agreement"],
        }
        for model in found
    ]


def pair_table(found: list[Measured]) -> Table:
    """One row a model, group of pairs and matrix: the mean distance, and its ratio to that of random pairs with an
    interval of 95 % over the pairs."""
    rows = []
    for model in found:
        groups = list(dict.fromkeys(pair["group"] for pair in model.measures["pairs"]))
        for role in ("input", "output"):
            lengths = {
                group: torch.tensor([pair[role] for pair in model.measures["pairs"] if pair["group"] == group])
                for group in groups
            }
            for group, values in lengths.items():
                whole = float(lengths["random"].mean())
                half = 1.96 * float(values.std()) / len(values) ** 0.5 / whole
                ratio = float(values.mean()) / whole
                rows.append(
                    {
                        "model": model.label,
                        "pairs": group,
                        "embeddings": role,
                        "distance": float(values.mean()),
                        "ratio": ratio,
                        "low": ratio - half,
                        "high": ratio + half,
                    }
                )
    return rows


def gap_table(found: list[Measured]) -> Table:
    """One row a shape and part of the training: how much higher the untied model's loss is than the tied one's, in nats
    per token on the same batches, with an interval of 95 % over the steps of that part."""
    rows = []
    for shape in dict.fromkeys(model.shape for model in found if model.variant):
        losses = {model.variant: model.losses for model in found if model.shape == shape and model.losses is not None}
        gaps = losses["untied"] - losses["tied"]
        size = max(2, -(-len(gaps) // WINDOWS))
        for number, part in enumerate(gaps.split(size)):
            mean, half = float(part.mean()), 1.96 * float(part.std()) / len(part) ** 0.5 if len(part) > 1 else 0.0
            row = {"shape": shape, "step": number * size + len(part) / 2, "gap": mean}
            rows.append({**row, "low": mean - half, "high": mean + half})
    return rows


def language_model_metrics(found: list[Measured]) -> dict[str, Any]:
    """For each model the numbers of its row; for each shape what untying costs, in nats per held-out token."""
    result: dict[str, Any] = {row.pop("model"): row for row in agreement_table(found)}
    for shape in dict.fromkeys(model.shape for model in found if model.variant):
        loss = {model.variant: model.held_out for model in found if model.shape == shape}
        result[f"{shape}_untied_minus_tied"] = loss["untied"] - loss["tied"]
    return result
