"""The training of a small masked language model on text with cloned words, and what is recorded of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import Partial, artifacts, derive
from linear_shortcuts.training import newest_checkpoint
from tied_embeddings import models
from tied_embeddings.clones import ClonedText
from tied_embeddings.dataset import IGNORED
from tied_embeddings.models import EmbeddingModel
from tied_embeddings.settings import ModelSettings
from tied_embeddings.text_settings import Clones, Encoder, TextTraining

LOWEST_LEARNING_RATE = 1e-5  # of the cosine schedule
Callback = Callable[[int, float], None]  # the number of steps done, and the loss of the last


def new_model(text: ClonedText, shape: Encoder, tied: bool, seed: int) -> EmbeddingModel:
    """The study's transformer with embeddings drawn from N(0, initial_std squared), and zeros for padding."""
    settings = ModelSettings(
        name="transformer",
        layers=shape.layers,
        embedding=shape.embedding,
        heads=shape.heads,
        feedforward=shape.feedforward,
        activation="gelu",
        tied=tied,
    )
    model = models.new_model(settings, text.vocabulary, None, derive(seed, "weights") % 2**63, text.padding)
    with torch.no_grad():
        for matrix in {model.input_embeddings, model.output_embeddings}:
            matrix.weight.mul_(shape.initial_std)  # drawn from N(0, 1)
            matrix.weight[text.padding] = 0
    return model


def masked_states(model: EmbeddingModel, ids: Tensor, where: Tensor) -> Tensor:
    """What is read out, (m, d), at the m places of ids (n, N) where the mask `where` is true, in reading order."""
    return model.body(model.input_embeddings(ids), ids == model.padding)[where]


def logits(model: EmbeddingModel, ids: Tensor, where: Tensor) -> Tensor:
    """Logits (m, V) there, and nowhere else: with a vocabulary of thousands the read-out is most of the work."""
    return masked_states(model, ids, where) @ model.output_embeddings.weight.T


def distances(vectors: Tensor) -> Tensor:
    """Euclidean distances between the rows of (n, d): (n, n), symmetric, with a zero diagonal."""
    # The faster way through inner products would leave equal vectors at a distance of some 1e-3.
    return torch.cdist(vectors.detach(), vectors.detach(), compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Judgement:
    """How well masked tokens are guessed, and how alike words and clones are to the model, whatever their vectors.

    Losses and divergences in nats per masked token.
    """

    line: dict[str, float]  # loss, coin, accuracy, tokens, exchange_clones, exchange_words
    log_odds: Tensor  # (2W, 2W) root mean square, over masked places, of the log odds between two words or clones


@torch.inference_mode()
def judge(model: EmbeddingModel, text: ClonedText, split: str, batches: int, seed: int) -> Judgement:
    """Judge on some batches of a split, the same ones for every model and at every time.

    Of two conditionally equivalent tokens the log odds are 0 everywhere. Whether tokens are semantically equivalent is
    seen by exchanging them: `exchange_clones` is how far the guesses move (the Kullback-Leibler divergence) where every
    word becomes its clone and every clone its word; `exchange_words`, where every word becomes the next of the words.
    """
    sums = dict.fromkeys(("loss", "coin", "accuracy", "exchange_clones", "exchange_words"), 0.0)
    second_moment = torch.zeros(model.settings.embedding, model.settings.embedding)
    tokens = 0
    generator = torch.Generator().manual_seed(derive(seed, "judge", split) % 2**63)
    model.eval()
    for _ in range(batches):
        ids, targets = text.batch(split, generator)
        where = targets != IGNORED
        wanted = targets[where]
        states = masked_states(model, ids, where)
        guess = (states @ model.output_embeddings.weight.T).log_softmax(1)
        sums["loss"] += float(F.nll_loss(guess, wanted, reduction="sum"))
        sums["coin"] += text.coin(targets) * len(wanted)
        sums["accuracy"] += int((guess.argmax(1) == wanted).sum())
        for name, exchanged in (("exchange_clones", text.exchange(ids, 0)), ("exchange_words", text.exchange(ids, 1))):
            other = logits(model, exchanged, where).log_softmax(1)
            sums[name] += float(F.kl_div(other, guess, reduction="sum", log_target=True))
        second_moment += states.T @ states
        tokens += len(wanted)
    model.train()
    # The mean square of h.(e - f) over states h is the squared length of e - f after this map.
    values, vectors = torch.linalg.eigh(second_moment / tokens)
    shown = model.output_embeddings.weight[text.pairs] @ vectors * values.clamp(min=0).sqrt()
    return Judgement({**{name: value / tokens for name, value in sums.items()}, "tokens": tokens}, distances(shown))


@dataclass(frozen=True)
class Record:
    """What was recorded of one training, R times, before its first step, between, and after its last.

    distances: `input`, `output` and `log_odds` -> (R, 2W, 2W) between words and clones; lines: a mapping for each time.
    """

    steps: list[int]
    distances: dict[str, Tensor]
    lines: list[dict[str, float]]


def recipe(text: ClonedText, settings: Clones) -> dict[str, Any]:
    """What partial work depends on besides code: the text and the settings."""
    sentences = {split: [ids.tolist() for ids in rows] for split, rows in text.sentences.items()}
    return {"text": artifacts.fingerprint([sentences, text.words]), "settings": asdict(settings)}


def train(
    text: ClonedText,
    settings: Clones,
    tied: bool,
    partial: Partial,
    on_step: Callback = lambda step, loss: None,
) -> tuple[EmbeddingModel, Record]:
    """Train from scratch, or from the newest checkpoint in `partial`, and record along the way.

    The batches follow from seed and step alone, so that a killed training continues to the same bytes.
    """
    training, seed = settings.training, settings.seed
    model = new_model(text, settings.model, tied, seed).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    half = training.half_period or training.steps
    lowest = min(1.0, LOWEST_LEARNING_RATE / training.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lowest + (1 - lowest) * (1 + math.cos(math.pi * step / half)) / 2
    )
    first = _restore(partial, model, optimizer, schedule)
    if first == 0:
        _record(partial, model, text, training, 0, seed)
    for step in range(first, training.steps):
        ids, targets = text.batch("train", torch.Generator().manual_seed(derive(seed, "batch", step) % 2**63))
        loss = F.cross_entropy(logits(model, ids, targets != IGNORED), targets[targets != IGNORED])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        done = step + 1
        on_step(done, loss.item())
        if training.is_recorded(done):
            _record(partial, model, text, training, done, seed)
        if done % training.steps_per_checkpoint == 0 or done == training.steps:
            _save(partial, model, optimizer, schedule, done, training.steps_per_checkpoint)
    return model.eval(), _gather(partial, training)


def _record(
    partial: Partial, model: EmbeddingModel, text: ClonedText, settings: TextTraining, step: int, seed: int
) -> None:
    result = judge(model, text, "validation", settings.validation_batches, seed)
    matrices = {"input": model.input_embeddings.weight, "output": model.output_embeddings.weight}
    measured = {name: distances(matrix[text.pairs]) for name, matrix in matrices.items()}
    measured["log_odds"] = result.log_odds
    partial.save(f"record {step}", {f"record_{step:08d}.pickle": measured}, note={"step": step, **result.line})


def _gather(partial: Partial, settings: TextTraining) -> Record:
    steps = [step for step in range(settings.steps + 1) if settings.is_recorded(step)]
    found = [partial.load(f"record_{step:08d}.pickle") for step in steps]
    measured = {name: torch.stack([record[name] for record in found]) for name in found[0]}
    return Record(steps, measured, [partial.note(f"record {step}") for step in steps])


def _save(partial: Partial, model: EmbeddingModel, optimizer: Any, schedule: Any, done: int, every: int) -> None:
    state = {
        "model": dict(model.state_dict()),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    # Two files in turn: a kill while one is being replaced leaves the other.
    slot = math.ceil(done / every) % 2
    partial.save(f"checkpoint {slot}", {f"checkpoint_{slot}.pickle": state}, note=done)


def _restore(partial: Partial, model: EmbeddingModel, optimizer: Any, schedule: Any) -> int:
    step, slot = newest_checkpoint(partial)
    if slot is not None:
        state = partial.load(f"checkpoint_{slot}.pickle")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    return step


def save(path: Path, record: Record, text: ClonedText) -> None:
    """Write what was recorded: `words`, `steps` (R), distances (R, 2W, 2W), and `log`, R lines."""
    artifacts.save(path, {"words": text.words, "steps": record.steps, **record.distances, "log": record.lines})
