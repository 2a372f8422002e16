"""What stages 04 and 05 saved, put together: tables, numbers and figures of the experiments on text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from linear_shortcuts.files import artifacts
from tied_embeddings import clones, language_models
from tied_embeddings.settings import STUDY, VARIANTS, Settings
from tied_embeddings.text_settings import Clones, LanguageModels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = list[dict[str, Any]]

FOLDER = STUDY / "text"
METRICS = STUDY / "metrics" / "text.json"

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
        """What is shown, name -> variant and distance; of a tied model there is one matrix of embeddings."""
        return {
            "tied": ("tied", "input"),
            "untied, input": ("untied", "input"),
            "untied, output": ("untied", "output"),
            "tied, log odds": ("tied", "log_odds"),
            "untied, log odds": ("untied", "log_odds"),
        }

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
        {variant: {name: saved[variant][name] for name in ("input", "output", "log_odds")} for variant in VARIANTS},
        {variant: saved[variant]["log"] for variant in VARIANTS},
        clones.random_pairs(len(words), settings.random_pairs, settings.seed),
    )


def clone_table(found: Clonings) -> Table:
    """One row a distance, kind of pair and recorded step: mean, a 95 % interval over pairs (1.96 standard errors),
    and the share of words whose nearest neighbour is their clone."""
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
                        "what": curve,
                        "pairs": kind,
                        "step": step,
                        "distance": mean,
                        "low": mean - float(half[row]),
                        "high": mean + float(half[row]),
                        "nearest_is_clone": float(share[row]),
                    }
                )
    return rows


def clone_log(found: Clonings) -> Table:
    """One row a variant and recorded step: losses without the coin, and how far an exchange moves the guesses."""
    return [
        {
            "variant": variant,
            "step": line["step"],
            "loss": line["loss"] - line["coin"],
            "accuracy": line["accuracy"],
            "exchange_clones": line["exchange_clones"],
            "exchange_words": line["exchange_words"],
        }
        for variant in VARIANTS
        for line in found.logs[variant]
    ]


def clone_metrics(found: Clonings) -> dict[str, Any]:
    """The last row of everything: distances, their ratio, the share found, exchanges, and losses without the coin."""
    table = clone_table(found)
    result: dict[str, Any] = {"steps": found.steps["tied"][-1], "coin": found.logs["tied"][-1]["coin"]}
    for curve in found.curves:
        rows = {row["pairs"]: row for row in table if row["what"] == curve}  # the last of each kind
        result[curve.replace(", ", "_").replace(" ", "_")] = {
            "clones": rows["clones"]["distance"],
            "random": rows["random"]["distance"],
            "ratio": rows["clones"]["distance"] / rows["random"]["distance"],
            "nearest_is_clone": rows["clones"]["nearest_is_clone"],
        }
    last = {row["variant"]: row for row in clone_log(found)}
    result["log"] = {
        variant: {key: value for key, value in last[variant].items() if key not in ("variant", "step")}
        for variant in VARIANTS
    }
    return result


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
    """One row a model: sizes, loss, how alike its embeddings are, how each follows each role of tokens in the text."""
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
        loss = {model.variant: model.held_out or 0.0 for model in found if model.shape == shape and model.variant}
        result[f"{shape}_untied_minus_tied"] = loss["untied"] - loss["tied"]
    return result


# --- the whole report --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    clonings: Clonings
    models: list[Measured]
    models_corpus: str


def load(settings: Settings) -> Found:
    """What stages 04 and 05 saved; an error names the stage to run first."""
    return Found(
        load_clonings(settings.clones), load_measured(settings.language_models), settings.language_models.corpus
    )


def tables_of(found: Found) -> dict[str, Table]:
    """Every table by its name."""
    return {
        "clones": clone_table(found.clonings),
        "clones_log": clone_log(found.clonings),
        "agreements": agreement_table(found.models),
        "pairs": pair_table(found.models),
        "gaps": gap_table(found.models),
    }


def metrics_of(found: Found) -> dict[str, Any]:
    return {"clones": clone_metrics(found.clonings), "language_models": language_model_metrics(found.models)}


def figures_of(found: Found, records: dict[str, Table]) -> dict[str, Figure]:
    """Every figure by its name; records: the tables."""
    from tied_embeddings import text_figures

    here = {model.label: model for model in found.models if model.variant}  # trained both ways
    agreements = [row for row in records["agreements"] if row["model"] in here]
    untied = [row for row in records["pairs"] if row["model"] in here and here[row["model"]].variant == "untied"]
    return {
        "cloned_words": text_figures.clones(records["clones"], records["clones_log"], found.clonings.corpus),
        "when_to_tie": text_figures.when_to_tie(records["gaps"], agreements, untied, found.models_corpus),
    }


def plot_tables(records: dict[str, Table]) -> dict[str, Table]:
    """The tables that `dvc plots show` draws, by the name of their folder; `series` tells the lines apart."""
    return {
        "clones": [
            {"step": row["step"], "value": row["distance"], "panel": row["what"], "series": row["pairs"]}
            for row in records["clones"]
        ],
        "gaps": [
            {"step": row["step"], "value": row["gap"], "panel": "untied minus tied", "series": row["shape"]}
            for row in records["gaps"]
        ],
    }
