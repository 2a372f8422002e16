"""The study's own pre-training: what `params.yaml` says, as `Trainer` takes it, and where its checkpoints lie."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainingArguments

from lambda_bert.models import new_model
from lambda_bert.pairs import VALIDATION, PairDataset
from lambda_bert.pretraining import PairCollator, PairTrainer, locked
from lambda_bert.settings import Settings
from linear_shortcuts.files import WORK, artifacts, code_sha256, derive


def load_pairs(settings: Settings) -> tuple[PairDataset, PairDataset]:
    """The pairs to train on and those for validation, as stage 01 saved them."""
    saved = artifacts.load_mapping(
        settings.folders.pairs, "train", "validation", made_by="studies/lambda_bert/01_prepare_text.py"
    )
    return PairDataset(**saved["train"]), PairDataset(**saved["validation"], epoch=VALIDATION)


def arguments(settings: Settings, model: str, folder: Path, device: str = "auto") -> TrainingArguments:
    """`Trainer`'s arguments for one of the models; `auto` is the CPU."""
    pretrain, every = settings.pretrain, settings.pretrain.steps_per_checkpoint
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=pretrain.steps,
        per_device_train_batch_size=pretrain.batch,
        per_device_eval_batch_size=64,
        learning_rate=getattr(pretrain.learning_rate, model),
        warmup_steps=pretrain.warmup_steps,
        weight_decay=pretrain.weight_decay,
        # Logged where a checkpoint is saved, so that a continued run logs the same means.
        logging_steps=every,
        save_steps=every,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=every,
        seed=derive(settings.seed, "trainer") % 2**32,
        data_seed=derive(settings.seed, "batches") % 2**32,
        use_cpu=device in ("auto", "cpu"),
        dataloader_pin_memory=False,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
    )


def new_trainer(
    settings: Settings,
    name: str,
    tokenizer: Any,
    train: PairDataset,
    validation: PairDataset,
    folder: Path,
    device: str = "auto",
    changes: Mapping[str, Any] | None = None,
) -> PairTrainer:
    """A trainer of one untrained model; changes: fields of its configuration that differ from the study's."""
    context = settings.pairs.block_size
    model = new_model(name, settings.shape, tokenizer, context, settings.task, settings.seed, changes)
    options = arguments(settings, name, folder, device)
    trainer = PairTrainer(model, options, tokenizer, settings.task, train, validation, settings.pretrain.masked)
    trainer.remove_callback(PrinterCallback)  # the log is saved
    return trainer


def collator(settings: Settings, tokenizer: Any, label: str = "pairs") -> PairCollator:
    """What masks as the trainer of `new_trainer` does; label: what the model calls the labels of pairs."""
    seed = derive(settings.seed, "batches") % 2**32
    return PairCollator(tokenizer, mlm_probability=settings.pretrain.masked, seed=seed, pair_label=label)


def history(trainer: PairTrainer) -> list[dict[str, float]]:
    """What was logged at each checkpoint, without how long it took."""
    evaluated = ("mlm_loss", "mask_loss", "visible_loss", "pair_loss", "pair_accuracy")
    kept = ("step", "loss", "mlm_loss", "pair_loss", *(f"eval_{name}" for name in evaluated))
    lines: dict[int, dict[str, float]] = {}
    for line in trainer.state.log_history:
        if "loss" in line or "eval_mlm_loss" in line:
            lines.setdefault(line["step"], {}).update({name: line[name] for name in kept if name in line})
    return list(lines.values())


def recipe(settings: Settings, model: str, train: PairDataset) -> dict[str, Any]:
    """All that the weights follow from: text, settings, and code."""
    return {
        "model": model,
        "pairs": train.sha256,
        "code": code_sha256(__file__),
        **{name: value for name, value in asdict(settings).items() if name in ("seed", "task", "shape", "pretrain")},
    }


@contextlib.contextmanager
def work_folder(
    settings: Settings, model: str, recipe: Mapping[str, Any], stage: str = "02_pretrain"
) -> Iterator[Path]:
    """The folder of checkpoints of one recipe, held alone; when all went well, those of other recipes are removed."""
    item = WORK / "lambda_bert" / stage / f"{settings.text}-{settings.task}-{model}"
    folder = item / artifacts.fingerprint(recipe)[:16]
    with locked(item):
        yield folder
        for other in item.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)
