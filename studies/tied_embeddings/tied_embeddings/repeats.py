"""The experiments on text once more, from several seeds: which of their numbers are the seed's?

Every training is described by a few numbers, a row each of `experiment`, `what`, `variant`, `seed` and `value`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from linear_shortcuts.files import Partial
from linear_shortcuts.settings import Params
from tied_embeddings import clones, language_models, text_model
from tied_embeddings.clones import ClonedText
from tied_embeddings.language_models import ROLES
from tied_embeddings.text_settings import Clones, LanguageModels, Repeats

CLONES = "cloned words"
LOSS = "held-out loss (nats)"
LAST = 75  # steps at the end, over which the training loss is averaged
OnStep = Callable[[int, float], None]


def clone_settings(settings: Clones, repeats: Repeats, seed: int) -> Clones:
    """Those of one short training."""
    return replace(settings, seed=seed, training=replace(settings.training, steps=repeats.clones))


def clone_numbers(
    text: ClonedText, settings: Clones, tied: bool, partial: Partial, on_step: OnStep
) -> dict[str, float]:
    """Train on cloned words; the loss without the coin, and how alike a word and its clone are, two words being 1."""
    _, record = text_model.train(text, settings, tied, partial, on_step)
    last, words = record.lines[-1], len(text.words)
    pairs = clones.random_pairs(words, settings.random_pairs, settings.seed)
    found = {LOSS: last["loss"] - last["coin"]}
    for name in ("input", "output", "log_odds"):
        lengths = record.distances[name][-1]
        twins, others = lengths[:words, words:].diagonal().mean(), lengths[pairs[:, 0], pairs[:, 1]].mean()
        found[f"{name.replace('_', ' ')}, clone / other word"] = float(twins / others)
    return {**found, "exchange, clone / other word": last["exchange_clones"] / last["exchange_words"]}


def language_model_numbers(
    params: Params,
    settings: LanguageModels,
    steps: int,
    shape: str,
    tied: bool,
    seed: int,
    sentences: Mapping[str, Sequence[str]],
    on_step: OnStep,
) -> dict[str, float]:
    """Train a language model; its losses, and how far each matrix follows each role of tokens in the text."""
    own = replace(params.training[shape], seed=seed)
    params = replace(params, training={**params.training, shape: own})
    settings = replace(settings, steps={**settings.steps, shape: steps})
    subject = language_models.trained(params, settings, shape, tied, sentences, on_step)
    result = language_models.measure(subject, sentences["train"], settings)
    assert subject.losses is not None  # it was trained just now
    return {
        LOSS: result["about"]["held_out"]["loss"],
        "training loss (nats)": float(torch.as_tensor(subject.losses)[-LAST:].mean()),
        **{
            f"{learned} vectors follow the {counted} role": result["learned_and_counted"][learned][counted]
            for learned in ROLES
            for counted in ROLES
        },
    }


def rows_of(experiment: str, seed: int, tied: bool, numbers: Mapping[str, float]) -> list[dict[str, Any]]:
    """A training's rows."""
    variant = "tied" if tied else "untied"
    about = {"experiment": experiment, "variant": variant, "seed": seed}
    return [{**about, "what": what, "value": value} for what, value in numbers.items()]
