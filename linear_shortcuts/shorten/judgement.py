"""What a shorter model is worth beside the whole one, on rows of text: perplexity, KL and agreement, by article."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import derive
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.measures import kl_divergence
from linear_shortcuts.shorten.comparison import SideBySide, logits_of
from linear_shortcuts.text.article_rows import IGNORED, Row

RESAMPLES, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Judgement:
    """Sums over the scored positions of each of n rows.

    loss: of -log p(label), nats. kl: KL(whole model || this one), nats. agree: positions where both have the same most
    probable token. positions: how many there are. article: (n,) int64, whose row it is. All (n,), float64 but the last.
    """

    loss: Tensor
    kl: Tensor
    agree: Tensor
    positions: Tensor
    article: Tensor

    @classmethod
    def of_sums(cls, rows: Sequence[Sequence[float]], article: Tensor) -> Judgement:
        """Of what `sums` found in each row."""
        loss, kl, agree, positions = torch.tensor(rows, dtype=torch.float64).T
        return cls(loss, kl, agree, positions, article)

    @property
    def perplexity(self) -> float:
        return float((self.loss.sum() / self.positions.sum()).exp())

    @property
    def mean_kl(self) -> float:
        """Nats a position."""
        return float(self.kl.sum() / self.positions.sum())

    @property
    def agreement(self) -> float:
        return float(self.agree.sum() / self.positions.sum())

    def record(self, seed: int) -> dict[str, Any]:
        """The three numbers, each with the percentile interval of resampled articles."""
        low, high = self.intervals(seed)
        values = {"perplexity": self.perplexity, "kl": self.mean_kl, "agreement": self.agreement}
        return {
            key: part for name, value in values.items() for key, part in (
                (name, value), (f"{name}_low", float(low[name])), (f"{name}_high", float(high[name]))
            )
        }  # fmt: skip

    def intervals(self, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Lower and upper ends by name; the same draw of articles for whatever was judged on the same rows."""
        counts = resampled_articles(self.article, seed)
        sums = {name: counts @ getattr(self, name) for name in ("loss", "kl", "agree", "positions")}
        drawn = {
            "perplexity": (sums["loss"] / sums["positions"]).exp(),
            "kl": sums["kl"] / sums["positions"],
            "agreement": sums["agree"] / sums["positions"],
        }
        tail = (1 - CONFIDENCE) / 2
        ends = {
            name: values.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)) for name, values in drawn.items()
        }
        return {name: pair[0] for name, pair in ends.items()}, {name: pair[1] for name, pair in ends.items()}


def resampled_articles(article: Tensor, seed: int, resamples: int = RESAMPLES) -> Tensor:
    """How often each of n rows counts in each resample of their articles, with replacement: (resamples, n) float64."""
    names, own = article.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(derive(seed, "articles resampled") % 2**63)
    drawn = torch.randint(len(names), (resamples, len(names)), generator=generator)
    counts = torch.zeros(resamples, len(names), dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones(drawn.shape, dtype=torch.float64))
    return counts[:, own]


@torch.inference_mode()
def judge(
    whole: LanguageModel,
    others: Mapping[str, LanguageModel],
    rows: Sequence[Row],
    progress: Callable[[Iterable[Row]], Iterable[Row]] = iter,
) -> dict[str, Judgement]:
    """The judgements of some models, by their names, on the same rows.

    progress: shows how far the rows are, as tqdm does.
    """
    beside = SideBySide(whole, others)
    found: dict[str, list[list[float]]] = {name: [] for name in others}
    for row in progress(rows):
        labels = row.labels[row.labels != IGNORED].to(whole.device)
        models = beside(row)
        _, log_p = next(models)
        p = log_p.exp()
        for name, log_q in models:
            found[name].append(sums(log_p, p, log_q, labels))
    articles = torch.tensor([row.article for row in rows])
    return {name: Judgement.of_sums(own, articles) for name, own in found.items()}


def sums(log_p: Tensor, p: Tensor, log_q: Tensor, labels: Tensor) -> list[float]:
    """What a `Judgement` sums over a row: losses, KL(p || q), positions of one best token, and all positions."""
    loss = F.nll_loss(log_q, labels, reduction="none").double().sum()
    kl = kl_divergence(p, log_p, log_q).double().sum()
    return [float(loss), float(kl), float((log_q.argmax(-1) == log_p.argmax(-1)).sum()), float(len(labels))]


@torch.inference_mode()
def tokens_per_second(
    models: Mapping[str, LanguageModel], prompt: Tensor, *, tokens: int = 32, times: int = 3
) -> dict[str, float]:
    """Tokens a second, by name: of greedy generation with a cache; of one pass over the row, for a masked model.

    The median of some runs; the models take turns, so that a busy machine slows all of them.
    """
    taken: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(times + 1):
        for name, model in models.items():
            start = time.perf_counter()
            made = _generate(model, prompt, tokens) if model.family.causal else _read(model, prompt)
            if turn:  # the first warms up
                taken[name].append(made / (time.perf_counter() - start))
    return {name: sorted(speeds)[len(speeds) // 2] for name, speeds in taken.items()}


def _generate(model: LanguageModel, prompt: Tensor, tokens: int) -> int:
    network = model.network
    out = network(input_ids=prompt[None].to(model.device), use_cache=True)
    for _ in range(tokens):
        token = out.logits[:, -1:].argmax(-1)
        out = network(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
    return tokens


def _read(model: LanguageModel, prompt: Tensor) -> int:
    logits_of(model, prompt)
    return len(prompt)
