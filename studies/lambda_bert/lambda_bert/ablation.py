"""What of a lambda layer gives LambdaBERT its start? The same pre-training with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lambda_bert import pretraining, rotary, study
from lambda_bert.pairs import PairDataset
from lambda_bert.settings import Kind, Settings
from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.settings import one_thread


@dataclass(frozen=True)
class Variant:
    """A model of the study with other fields of its configuration."""

    about: str
    kind: Kind
    changes: Mapping[str, Any] = field(default_factory=dict)


VARIANTS = {
    "both": Variant("both lambdas, a window of 25", "lambdabert"),
    # A window of one token keeps what a position lambda does to the token itself; nothing meets but by content.
    "content": Variant("content lambda, a window of 1", "lambdabert", {"local_context_size": 1}),
    "position": Variant("position lambda alone, a window of 25", "lambdabert", {"lambdas": "position"}),
    "all-tokens": Variant(
        "both lambdas, all tokens by distance", "lambdabert", {"local_context_size": None, "relative_global": True}
    ),
    "bert-absolute": Variant("BERT, absolute positions", "bert"),
    "bert-relative": Variant("BERT, rotary positions besides", "bert", {"attn_implementation": rotary.NAME}),
}


def run(settings: Settings, name: str, seed: int, tokenizer: Any, train: PairDataset, validation: PairDataset) -> bool:
    """Pre-train one variant from one seed and write its results; False if they were there, of the same settings.

    The seed is that of weights, masks and order; the text and its pairs are the study's. A killed training continues.
    """
    variant, file = VARIANTS[name], settings.folders.ablation(name, seed)
    settings = replace(settings, seed=seed)
    recipe = {**study.recipe(settings, variant.kind, train), "changes": dict(variant.changes)}
    # The code is in the recipe of checkpoints, not of results: these took a quarter of an hour each and are tracked.
    card = artifacts.fingerprint({key: value for key, value in recipe.items() if key != "code"})
    if file.is_file():
        if artifacts.load_json(file)["card"] == card:
            return False
        raise InputError(f"{file} is of other settings; remove it to train anew, or go back to its settings")
    with study.work_folder(settings, name, recipe, f"08_ablate/{seed}") as work, one_thread():
        trainer = study.new_trainer(settings, variant.kind, tokenizer, train, validation, work, changes=variant.changes)
        checkpoint = pretraining.newest_checkpoint(work)
        pretraining.train(trainer, checkpoint)
        trainer.model.half().float()  # what stage 02 saves and judges
        results = pretraining.evaluate(trainer, settings.task)
        artifacts.save_json(file, {"card": card, "results": results, "log": study.history(trainer)})
    return True


def load(settings: Settings) -> dict[tuple[str, int], dict[str, Any]]:
    """The trainings that are finished, of the settings' variants and seeds: (variant, seed) -> `results` and `log`."""
    wanted = [(name, seed) for name in settings.ablation.variants for seed in settings.ablation.seeds]
    files = {key: settings.folders.ablation(*key) for key in wanted}
    found = {key: artifacts.load_json(file) for key, file in files.items() if file.is_file()}
    if not found:
        raise InputError(f"{settings.folders.ablations} has no training; run studies/lambda_bert/08_ablate.py first")
    return found
