"""Pre-training on masked tokens and pairs of segments, with Hugging Face's `Trainer`.

Masks follow from the seed, the epoch and the pair's number, not from a running random state: a killed training
continues to the same weights, and two models see the same batches, mask for mask.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from safetensors.torch import load_model as load_weights
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DataCollatorForLanguageModeling,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from lambda_bert.pairs import PairDataset, Task
from linear_shortcuts.files import PATIENCE, InputError, artifacts, atomic, derive

IGNORED = -100  # the label PyTorch's cross-entropy leaves out
RESULTS = "eval_results_lm.txt"
LARGEST = 700.0  # a loss whose exponential a float still holds


# --- batches ---------------------------------------------------------------------------------------------------


@dataclass
class PairCollator(DataCollatorForLanguageModeling):
    """Batches of pairs for pre-training: 15% of the tokens to predict, 80% of them behind [MASK], 10% as another token.

    pair_label: what the model calls the labels of the pairs. seed: of the masks. In every pair one token at least is
    masked, since a batch without any would have no loss.
    """

    seed: int = 0
    pair_label: str = "next_sentence_label"

    def torch_call(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        masked = [self._masked(example) for example in examples]
        lengths = torch.tensor([len(example["ids"]) for example in examples])
        places = torch.arange(int(lengths.max()))
        firsts = torch.tensor([example["first"] for example in examples])
        real = places < lengths[:, None]
        return {
            "input_ids": _pad([inputs for inputs, _ in masked], self.tokenizer.pad_token_id),
            "token_type_ids": ((places >= firsts[:, None]) & real).long(),
            "attention_mask": real.long(),
            "labels": _pad([labels for _, labels in masked], IGNORED),
            self.pair_label: torch.tensor([example["label"] for example in examples]),
        }

    def _masked(self, example: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Inputs and labels (tokens,) of one pair."""
        ids = torch.from_numpy(example["ids"].astype(np.int64))[None]
        special = torch.isin(ids, torch.tensor(self.tokenizer.all_special_ids))
        self.generator = torch.Generator().manual_seed(derive(self.seed, "mask", *example["key"]) % 2**63)
        while True:
            inputs, labels = self.torch_mask_tokens(ids.clone(), special_tokens_mask=special)
            if (labels != IGNORED).any() or special.all():
                return inputs[0], labels[0]


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=value)


# --- scores ----------------------------------------------------------------------------------------------------


def reduce_logits(logits: Sequence[Tensor], labels: Sequence[Tensor], masked: Tensor) -> Tensor:
    """What is kept of a batch: for each pair (B, 6) the sum of its token losses and the number of tokens predicted, the
    same of those behind [MASK] alone, the pair's loss, and whether its label was predicted. All losses are in nats.

    masked: (B, N) bool, where [MASK] is.
    """
    tokens, pairs = logits[:2]
    targets, pair_targets = labels
    losses = F.cross_entropy(tokens.float().transpose(1, 2), targets, reduction="none", ignore_index=IGNORED).double()
    pair_losses = F.cross_entropy(pairs.float(), pair_targets, reduction="none")
    right = pairs.argmax(dim=-1) == pair_targets
    predicted = targets != IGNORED
    behind = masked & predicted
    columns = [losses.sum(1), predicted.sum(1), (losses * behind).sum(1), behind.sum(1), pair_losses, right]
    return torch.stack([column.double() for column in columns], dim=1)


def scores(prediction: EvalPrediction) -> dict[str, float]:
    """Mean losses (nats) and the accuracy over all predicted tokens and pairs, whatever the batches were.

    perplexity: exp of the mean token loss alone. mask_loss, visible_loss: the mean token loss behind [MASK], and where
    the token, or a random one, was left in sight; the first alone tells whether a model uses the context.
    pair_majority: the accuracy of always saying the commoner label.
    """
    token_losses, tokens, mask_losses, masks, pair_losses, right = np.asarray(prediction.predictions).sum(axis=0)
    pair_labels = np.asarray(prediction.label_ids[1])
    number = len(pair_labels)
    mlm_loss = float(token_losses / tokens)
    return {
        "mlm_loss": mlm_loss,
        "perplexity": math.exp(mlm_loss) if mlm_loss < LARGEST else math.inf,
        "mask_loss": float(mask_losses / masks) if masks else math.nan,
        "visible_loss": float((token_losses - mask_losses) / (tokens - masks)) if tokens > masks else math.nan,
        "pair_loss": float(pair_losses / number),
        "pair_accuracy": float(right / number),
        "pair_majority": float(max(pair_labels.mean(), 1 - pair_labels.mean())),
        "predicted_tokens": int(tokens),
        "pairs": number,
    }


# --- training --------------------------------------------------------------------------------------------------


def pair_label(model: Any, task: Task) -> str:
    """What the model calls the labels of pairs; `InputError` if it has no head for them, or one for another task."""
    config = model.config
    if not hasattr(model, "cls") or not hasattr(model.cls, "seq_relationship"):
        raise InputError(f"a {config.model_type} model has no head for pairs of segments; use bert or lambdabert")
    objective = getattr(config, "pair_objective", None)  # BERT has one head, for whichever question
    if objective not in (None, task):
        raise InputError(f"the model's pair_objective is {objective}, but the task {task}; make it with the latter")
    return "sentence_order_label" if objective == "sop" else "next_sentence_label"


@contextlib.contextmanager
def head_on_labels(model: Any, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Inputs with which the model's MLM head runs on the tokens to predict alone: the same loss in three quarters of
    the time of a small model, whose head is wide. Within, the model's token logits are theirs, (1, n, V)."""
    chosen = inputs["labels"] != IGNORED
    hook = model.cls.predictions.register_forward_pre_hook(lambda module, states: (states[0][chosen][None],))
    try:
        yield {**inputs, "labels": inputs["labels"][chosen][None]}
    finally:
        hook.remove()


class PairTrainer(Trainer):
    """`Trainer` for both tasks at once, whose log tells their losses apart.

    The model's loss has to be the sum of both means, as in BERT.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        tokenizer: Any,
        task: Task,
        train: PairDataset | None,
        validation: PairDataset | None,
        masked: float = 0.15,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.pair_label = pair_label(model, task)
        if args.disable_tqdm:
            logging.disable_progress_bar()  # of saving and loading
        args.label_names = ["labels", self.pair_label]
        args.remove_unused_columns = False  # the collator makes the model's columns
        if args.data_seed is None:
            args.data_seed = args.seed  # else the order would follow from what was drawn before: the model's weights
        super().__init__(
            model=model,
            args=args,
            data_collator=PairCollator(
                tokenizer, mlm_probability=masked, seed=args.data_seed, pair_label=self.pair_label
            ),
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            compute_metrics=scores,
            callbacks=[_Epochs(train), *callbacks],
        )
        # BERT takes any keyword, but does not divide its loss by the number of accumulated batches.
        self.model_accepts_loss_kwargs = False
        self._pair_loss: Any = 0.0
        self._batches = 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any) -> Any:
        if not model.training or self.args.n_gpu > 1:  # DataParallel would cut the labels in two
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        with head_on_labels(self.model, inputs) as given:
            loss, outputs = super().compute_loss(model, given, return_outputs=True, **kwargs)
        pairs = F.cross_entropy(outputs["seq_relationship_logits"].detach().float(), inputs[self.pair_label])
        self._pair_loss, self._batches = self._pair_loss + pairs, self._batches + 1
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if logits is None:  # the loss alone was wanted
            return loss, logits, labels
        masked = (inputs["input_ids"] == self.processing_class.mask_token_id).to(logits[0].device)
        return loss, reduce_logits(logits, labels, masked), labels

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs and self._batches:
            pairs = float(self._pair_loss) / self._batches
            logs = {"mlm_loss": logs["loss"] - pairs, "pair_loss": pairs, **logs}
            self._pair_loss, self._batches = 0.0, 0
        super().log(logs, *args, **kwargs)


class _Epochs(TrainerCallback):
    """Tells the dataset the epoch, so that every pair is masked anew in each."""

    def __init__(self, dataset: PairDataset | None) -> None:
        self.dataset = dataset

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.dataset is not None:
            self.dataset.epoch = int(state.epoch)


class Until(TrainerCallback):
    """Ends a training at the first evaluation at which the loss at [MASK] is no more than `loss` nats."""

    def __init__(self, loss: float) -> None:
        self.loss = loss

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **kwargs: Any) -> None:
        control.should_training_stop |= metrics["eval_mask_loss"] <= self.loss


# --- results and checkpoints -----------------------------------------------------------------------------------


def evaluate(trainer: PairTrainer, task: Task) -> dict[str, Any]:
    """The scores of `trainer`'s model on its validation pairs, masked the same every time."""
    found = trainer.evaluate()
    names = ("mlm_loss", "perplexity", "mask_loss", "visible_loss", "pair_loss", "pair_accuracy", "pair_majority")
    scored = {name: found[f"eval_{name}"] for name in (*names, "predicted_tokens", "pairs")}
    return {"task": task, **scored, "parameters": trainer.model.num_parameters()}


def save_results(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write `eval_results_lm.txt`, a line `name = value` each."""
    with atomic.atomic_file(folder / RESULTS) as file:
        file.write("".join(f"{name} = {value}\n" for name, value in results.items()).encode())
    return folder / RESULTS


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of `Trainer` in a folder that has done most steps, if there is one."""
    found = {}
    for state in folder.glob("checkpoint-*/trainer_state.json"):  # the file that is written last
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            found[int(json.loads(state.read_text())["global_step"])] = state.parent
    return found[max(found)] if found else None


def train(trainer: PairTrainer, checkpoint: str | Path | None) -> None:
    """Train, from a checkpoint if there is one; one that has all of `max_steps` is loaded as it is.

    `Trainer` would take one step more from there, at a learning rate of 0: it counts in the statistics of batch norms.
    """
    if checkpoint is not None and trainer.args.max_steps > 0:
        state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        if state.global_step >= trainer.args.max_steps:
            load_weights(trainer.model, Path(checkpoint) / SAFE_WEIGHTS_NAME, device=str(trainer.args.device))
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder alone; `InputError` if another process does."""
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise InputError(f"another process is at work in {folder}; wait for it to end, or end it") from None
    try:
        yield
    finally:
        lock.release()


def check_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Raise `InputError` if a folder holds checkpoints of another recipe (anything JSON-able); else write it there."""
    card = folder / "recipe.json"
    if newest_checkpoint(folder) is not None and card.is_file():
        there, here = artifacts.load_json(card), json.loads(json.dumps(recipe))
        if differing := [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]:
            raise InputError(
                f"{folder} holds checkpoints of another run (other {', '.join(differing)}); give another folder, or "
                "remove this one"
            )
    artifacts.save_json(card, recipe)
