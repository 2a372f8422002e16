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

from shortcuts import artifacts
from shortcuts.resume import Partial
from shortcuts.seeds import derive
from shortcuts.training import newest_checkpoint
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


def logits(model: EmbeddingModel, ids: Tensor, where: Tensor) -> Tensor:
    """Logits (m, V) at the m places of ids (n, N) where the mask `where` is true, in reading order."""
    # Only there, since a vocabulary of thousands makes the read-out the greater part of the work.
    states = model.body(model.input_embeddings(ids), ids == model.padding)
    return states[where] @ model.output_embeddings.weight.T


def distances(vectors: Tensor) -> Tensor:
    """Euclidean distances between the rows of (n, d): (n, n), symmetric, with a zero diagonal."""
    # The faster way through inner products would leave equal vectors at a distance of some 1e-3.
    return torch.cdist(vectors.detach(), vectors.detach(), compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Judgement:
    """How well masked tokens are guessed; losses in nats per masked token."""

    loss: float
    coin: float  # the part of the loss that no model can avoid, since a fair coin chose between word and clone
    accuracy: float
    tokens: int


def judge(model: EmbeddingModel, text: ClonedText, split: str, batches: int, seed: int) -> Judgement:
    """Loss and accuracy on some batches of a split, the same ones for every model and at every time."""
    total, coins, right, tokens = 0.0, 0.0, 0, 0
    generator = torch.Generator().manual_seed(derive(seed, "judge", split) % 2**63)
    model.eval()
    with torch.inference_mode():
        for _ in range(batches):
            ids, targets = text.batch(split, generator)
            wanted = targets[targets != IGNORED]
            guess = logits(model, ids, targets != IGNORED)
            total += float(F.cross_entropy(guess, wanted, reduction="sum"))
            coins += text.coin(targets) * len(wanted)
            right += int((guess.argmax(1) == wanted).sum())
            tokens += len(wanted)
    model.train()
    return Judgement(total / tokens, coins / tokens, right / tokens, tokens)


@dataclass(frozen=True)
class Record:
    """What was recorded of one training, R times, before its first step, between, and after its last.

    distances: `input` and `output` -> (R, 2W, 2W) between words and clones; lines: a mapping for each time.
    """

    steps: list[int]
    distances: dict[str, Tensor]
    lines: list[dict[str, float]]


def recipe(text: ClonedText, settings: Clones) -> dict[str, Any]:
    """What partial work depends on besides the library: the text, the study's own code, and the settings."""
    code = {path.name: artifacts.file_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))}
    sentences = {split: [ids.tolist() for ids in rows] for split, rows in text.sentences.items()}
    return {"text": artifacts.fingerprint([sentences, text.words]), "code": code, "settings": asdict(settings)}


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
    partial.save(f"record {step}", {f"record_{step:08d}.pickle": measured}, note={"step": step, **vars(result)})


def _gather(partial: Partial, settings: TextTraining) -> Record:
    steps = [step for step in range(settings.steps + 1) if settings.is_recorded(step)]
    found = [partial.load(f"record_{step:08d}.pickle") for step in steps]
    measured = {name: torch.stack([record[name] for record in found]) for name in ("input", "output")}
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
    """Write what was recorded: `words`, `steps` (R), `input` and `output` (R, 2W, 2W), and `log`, R lines."""
    artifacts.save(path, {"words": text.words, "steps": record.steps, **record.distances, "log": record.lines})
