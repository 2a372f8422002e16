"""What a trained model is worth, and the card and folder it is published with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linear_shortcuts import __version__
from linear_shortcuts.files import InputError, atomic_folder, derive
from linear_shortcuts.settings import Training
from linear_shortcuts.text import docstrings
from linear_shortcuts.training.loop import IGNORED, language_loss, prepare
from linear_shortcuts.training.training_text import TrainingText


@dataclass(frozen=True)
class HeldOut:
    """How well a model predicts text it never saw, in nats per predicted token."""

    loss: float
    unigram_entropy: float  # of the same tokens: the best any model without context could do on them
    tokens: int


def evaluate(model: torch.nn.Module, settings: Training, rows: np.ndarray, tokenizer: Any) -> HeldOut:
    """Held-out loss in float32, against the unigram entropy of the very tokens that were predicted.

    Raises `InputError` if the held-out text does not fill one row.
    """
    if not len(rows):
        raise InputError(
            "the held-out text does not fill one row; install more packages to train on, or lower `context`"
        )
    total, tokens, counts = 0.0, 0, torch.zeros(len(tokenizer))
    with torch.inference_mode():
        for number, part in enumerate(_chunks(rows, 64)):
            seed = derive(settings.seed, "held-out mask", number)
            masked = None if settings.masked is None else 0.15
            inputs, labels = prepare(part, masked, seed, tokenizer)
            predicted = labels[labels != IGNORED]
            total += float(language_loss(model, inputs, labels)) * len(predicted)
            tokens += len(predicted)
            counts += torch.bincount(predicted, minlength=len(tokenizer))
    shares = counts[counts > 0].double() / tokens
    return HeldOut(total / tokens, float(-(shares * shares.log()).sum()), tokens)


def _chunks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def model_card(
    name: str, settings: Training, text: TrainingText, trained_on: int, held_out: HeldOut, made_by: str
) -> str:
    """The README of a shipped model: data, steps, held-out loss, and `made_by`, the command that makes it."""
    gain = held_out.unigram_entropy - held_out.loss
    task = "next-token prediction" if settings.masked is None else f"masked tokens ({settings.masked:.0%} in training)"
    sentences = sum(map(len, text.train))
    packages = ", ".join(f"{package} {version}" for package, version in text.packages.items())
    return f"""---
license: mit
language: en
library_name: transformers
---

# {name}

A {settings.kind.upper().replace("GPT2", "GPT-2")}-architecture model of {settings.layers} layers and width \
{settings.width} ({settings.heads} heads, context {settings.context}, vocabulary of its own with \
{settings.vocabulary:,} tokens), made for this project so that the whole pipeline runs offline. \
It has read documentation of Python packages and nothing else; do not expect knowledge of the world.

| | |
|---|---|
| task | {task} |
| training text | {sentences:,} distinct prose sentences of the installed packages' docstrings, \
SHA-256 {text.sha256[:16]}… |
| kept out of it | every sentence of the `docstrings` corpus (CPython's standard library, `pydoc` topics, \
{docstrings.SUPPLEMENT}) |
| training tokens | {trained_on:,}; {settings.steps:,} steps of {settings.batch * settings.context:,} |
| optimiser | AdamW, peak learning rate {settings.learning_rate}, {settings.warmup_steps} warm-up steps, linear decay, \
float32 |
| held-out loss | **{held_out.loss:.3f} nats** per token, in float32 with the half-precision weights shipped here, on \
{held_out.tokens:,} predicted tokens of unseen source files |
| unigram entropy of the same tokens | {held_out.unigram_entropy:.3f} nats |
| gain over the unigram | {gain:.3f} nats (perplexity {math.exp(held_out.loss):.1f} against \
{math.exp(held_out.unigram_entropy):.1f}) |
| made by | `{made_by}`, linear-shortcuts {__version__}, torch \
{torch.__version__} |

The text depends on what is installed. It was: {packages}.
"""


def save_model(folder: Path, model: Any, tokenizer: Any, card: str) -> None:
    """Write config, tokenizer, half-precision weights and the model card."""
    with atomic_folder(folder) as coming:
        model.half().save_pretrained(coming)
        tokenizer.save_pretrained(coming)
        (coming / "README.md").write_bytes(card.encode())
