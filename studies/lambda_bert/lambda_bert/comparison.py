"""What the pre-training came to: the models side by side, in one table and one figure."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lambda_bert.pairs import PairDataset
from lambda_bert.pretraining import IGNORED, PairCollator, head_on_labels
from lambda_bert.settings import Pretrain, Settings
from linear_shortcuts.figures.printing import BLUE, ORANGE, PAGE, STYLE, label_below
from linear_shortcuts.files import artifacts
from linear_shortcuts.settings import one_thread

Batch = dict[str, Tensor]
NAMES = {"bert": "BERT", "lambdabert": "LambdaBERT"}
WITHOUT_CONTEXT = "without context"
LINES = {"bert": ("s--", ORANGE), "lambdabert": ("o-", BLUE)}
STAGE = "studies/lambda_bert/02_pretrain.py"


def load_results(settings: Settings) -> dict[str, dict[str, Any]]:
    """For each model its `results` and the `log` of its training."""
    return {
        name: {
            kind: artifacts.load_json(settings.folders.model(name) / f"{kind}.json", made_by=STAGE)
            for kind in ("results", "log")
        }
        for name in settings.models
    }


def batches(collate: PairCollator, pairs: PairDataset, size: int, number: int | None = None) -> list[Batch]:
    """The first batches of a dataset, or all."""
    starts = range(0, len(pairs), size)[:number]
    return [
        collate.torch_call([pairs[index] for index in range(start, min(start + size, len(pairs)))]) for start in starts
    ]


def losses_without_context(train: PairDataset, batches: Sequence[Batch], tokenizer: Any) -> dict[str, float]:
    """Mean losses (nats) of the best guess that sees no other token, as `scores` calls them, on the tokens to predict.

    Behind [MASK] that is the train text's frequencies p, one added to each count. A token in sight is its own with
    probability p / (p + 1 / V), since as many stay as give way to a random one of the V; else p again.
    """
    counts = np.bincount(train.ids, minlength=len(tokenizer)).astype(np.float64)
    counts[tokenizer.all_special_ids] = 0
    p = torch.from_numpy((counts + 1) / (counts.sum() + len(counts)))
    predicted = [batch["labels"] != IGNORED for batch in batches]
    labels = torch.cat([batch["labels"][where] for batch, where in zip(batches, predicted, strict=True)])
    seen = torch.cat([batch["input_ids"][where] for batch, where in zip(batches, predicted, strict=True)])
    own = p[seen] / (p[seen] + 1 / len(p))
    in_sight = own * (seen == labels) + (1 - own) * p[labels]
    masked = seen == tokenizer.mask_token_id
    losses = -torch.where(masked, p[labels], in_sight).log()
    return {
        "mlm_loss": float(losses.mean()),
        "perplexity": math.exp(float(losses.mean())),
        "mask_loss": float(losses[masked].mean()),
        "visible_loss": float(losses[~masked].mean()),
    }


def kept_for_backward(model: Any, batch: Batch) -> int:
    """Bytes that the forward pass of a training step keeps for the backward pass, besides the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()  # views share a storage, which counts once
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), head_on_labels(model, batch) as given:
        loss = model.train()(**given).loss  # held, so that no storage is freed and its address used again
    del loss
    return sum(kept.values())


def speeds(models: Mapping[str, Any], batches: Mapping[str, Sequence[Batch]]) -> dict[str, float]:
    """Real tokens a second in training steps, the models taking turns on the same batches; medians over the batches."""
    optimizers = {name: torch.optim.AdamW(model.train().parameters()) for name, model in models.items()}
    measured: dict[str, list[float]] = {name: [] for name in models}
    with one_thread():
        for number in range(len(next(iter(batches.values())))):
            for name, model in models.items():
                batch = batches[name][number]
                start = time.perf_counter()
                with head_on_labels(model, batch) as given:
                    model(**given).loss.backward()
                optimizers[name].step()
                optimizers[name].zero_grad()
                measured[name].append(int(batch["attention_mask"].sum()) / (time.perf_counter() - start))
    # The first step of each allocates what later ones use again.
    return {name: statistics.median(values[1:]) for name, values in measured.items()}


def table(
    found: Mapping[str, Mapping[str, Any]], without_context: Mapping[str, float], memory: Mapping[str, int]
) -> list[dict[str, Any]]:
    """A row a model, and before them what a guess without context and the commoner label reach on the same."""
    majority = next(iter(found.values()))["results"]["pair_majority"]
    rows: list[dict[str, Any]] = [{"model": WITHOUT_CONTEXT, **without_context, "pair_accuracy": majority}]
    for name, model in found.items():
        kept = (*without_context, "pair_accuracy", "pair_loss", "parameters")
        rows.append({"model": name, **{key: model["results"][key] for key in kept}, "kept_bytes": memory[name]})
    return rows


def metrics(
    rows: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]], pretrain: Pretrain, pairs: int
) -> dict[str, Any]:
    """The table, and on how much the models were trained and judged: pairs, tokens to predict."""
    judged = next(iter(found.values()))["results"]
    numbers = {"steps": pretrain.steps, "batch": pretrain.batch, "train_pairs": pairs}
    return {**numbers, **{name: judged[name] for name in ("predicted_tokens", "pairs")}, "models": list(rows)}


def text(rows: Sequence[Mapping[str, Any]], speeds: Mapping[str, float], task: str) -> str:
    """The table as a reader wants it, in Markdown, with the speeds measured now."""
    losses = ("MLM loss", "perplexity", "loss at [MASK]", "loss in sight")
    titles = ("parameters", *losses, f"{task.upper()} accuracy", "kept for backward", "tokens/s")
    lines = [f"| model | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]
    for row in rows:
        name = row["model"]
        own = [f"{row['kept_bytes'] / 2**20:.1f} MiB", f"{speeds[name]:,.0f}"] if name in speeds else ["", ""]
        parameters = f"{row['parameters']:,}" if "parameters" in row else ""
        scores = [f"{row[key]:.3f}" for key in ("mlm_loss", "mask_loss", "visible_loss", "pair_accuracy")]
        scores.insert(1, f"{row['perplexity']:.1f}")
        lines.append("| " + " | ".join([NAMES.get(name, name), parameters, *scores, *own]) + " |")
    return "\n".join(lines) + "\n"


def training_figure(
    found: Mapping[str, Mapping[str, Any]], without_context: Mapping[str, float], task: str, about: str
) -> Figure:
    """Held-out scores over the steps: tokens behind [MASK], tokens in sight, and pairs."""
    panels = {
        "eval_mask_loss": "loss at [MASK] (nats)",
        "eval_visible_loss": "loss at tokens in sight (nats)",
        "eval_pair_accuracy": f"{task.upper()}: accuracy",
    }
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.6))
        for axis, (key, label) in zip(axes, panels.items(), strict=True):
            for name, model in found.items():
                lines = [line for line in model["log"] if key in line]
                steps, values = [line["step"] for line in lines], [line[key] for line in lines]
                line, color = LINES[name]
                axis.plot(steps, values, line, color=color, label=NAMES[name])
            axis.set_xlabel("steps")
            axis.set_ylabel(label)
        for axis, key in zip(axes, ("mask_loss", "visible_loss"), strict=False):
            axis.axhline(without_context[key], color="0.4", linestyle=":", linewidth=1, label=WITHOUT_CONTEXT)
        majority = next(iter(found.values()))["results"]["pair_majority"]
        axes[2].axhline(majority, color="0.4", linestyle="-.", linewidth=1, label="the commoner label")
        pairs = next(iter(found.values()))["results"]["pairs"]
        error = math.sqrt(majority * (1 - majority) / pairs)
        axes[2].axhspan(majority - 2 * error, majority + 2 * error, color="0.9", label="± 2 standard errors of it")
        axes[2].set_ylim(min(0.4, axes[2].get_ylim()[0]), max(0.7, axes[2].get_ylim()[1]))
        label_below(figure, axes, 5)
        figure.suptitle(f"Held-out scores while pre-training, {about}")
    return figure
