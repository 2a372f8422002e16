"""Put new attention or lambda layers in the place of a trained BERT's attention, and teach them to do what it did.

Everything else is the teacher's and stays. In each block by itself the new part reads what the teacher's attention
reads, and learns to give what that gave, token by token: so many lessons a sentence that minutes are enough, and that
attention and lambda layers end up doing nearly the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lambda_bert.settings import Distil
from linear_shortcuts.files import InputError, derive
from linear_shortcuts.models import Call, LanguageModel, Watcher

MIXING = ("attention.self.", "attention.output.dense.")  # what is learned anew, in every block


class _Teacher(Watcher):
    """What the teacher's attention read and gave in each block."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.given: list[Tensor] = []
        self.calls: list[Call] = []

    def state(self, layer: int, states: Tensor) -> None:
        self.states.append(states)

    def attention_call(self, block: int, call: Call) -> None:
        self.calls.append(call)

    def attention_output(self, block: int, states: Tensor) -> None:
        self.given.append(states)


@torch.no_grad()
def adopt(model: Any, teacher: LanguageModel) -> None:
    """Copy into a new BERT or LambdaBERT of the teacher's shape all of the teacher's weights but those of attention."""
    theirs = {name.partition(".")[2]: value for name, value in teacher.network.state_dict().items()}
    missing = set(theirs)
    for name, value in model.state_dict().items():
        own = name.partition(".")[2]  # without the name of the architecture, or `cls`
        if own in theirs and not any(part in own for part in MIXING):
            if value.shape != theirs[own].shape:
                raise InputError(
                    f"{teacher.name} has {own} of shape {tuple(theirs[own].shape)}, the new model of "
                    f"{tuple(value.shape)}; give shape the sizes of distil.teacher"
                )
            value.copy_(theirs[own])
            missing.discard(own)
    left = [name for name in missing if not any(part in name for part in MIXING)]
    if left:
        raise InputError(f"{teacher.name} has {left[0]}, which a {model.config.model_type} has not; it must be a BERT")


def masked_batches(
    ids: Sequence[Sequence[int]], tokenizer: Any, settings: Distil, seed: int
) -> Iterable[tuple[Tensor, Tensor]]:
    """Endless batches of sentences of similar length, some tokens behind [MASK]: ids and mask (batch, tokens)."""
    generator = torch.Generator().manual_seed(derive(seed, "distil") % 2**63)
    ordered = sorted((torch.tensor(row) for row in ids), key=len)
    special = torch.tensor(tokenizer.all_special_ids)
    while True:
        first = int(torch.randint(max(1, len(ordered) - settings.batch + 1), (), generator=generator))
        rows = ordered[first : first + settings.batch]
        batch = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        hidden = (torch.rand(batch.shape, generator=generator) < settings.masked) & ~torch.isin(batch, special)
        yield batch.masked_fill(hidden, tokenizer.mask_token_id), mask


def distil(
    model: Any,
    teacher: LanguageModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    settings: Distil,
    steps: Callable[[Iterable[int]], Iterable[int]],
) -> list[float]:
    """Teach the mixing parts of a model in place. Returns, for each block, the error of the last tenth of the steps.

    The error is the mean squared distance to what the teacher's attention gives, relative to the variance of that.
    """
    layers = model.base_model.encoder.layer
    learned = [p for name, p in model.named_parameters() if any(part in name for part in MIXING)]
    optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=0.0)
    number = getattr(settings.steps, model.config.model_type)
    warm_up = max(1, number // 20)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warm_up, 1 - step / number))
    errors: list[Tensor] = []
    model.train()
    for _, (ids, mask) in zip(steps(range(number)), batches, strict=False):
        seen = _Teacher()
        with torch.no_grad(), teacher.watch(seen):
            teacher.encode(ids.to(teacher.device), mask.to(teacher.device))
        real = mask.bool().to(teacher.device)
        found = []
        for layer, states, wanted, call in zip(layers, seen.states, seen.given, seen.calls, strict=False):
            # Attention takes what the teacher's took; a lambda layer the mask of tokens.
            arguments, options = call if model.config.model_type == "bert" else ((real,), {})
            given = layer.attention.output.dense(layer.attention.self(states, *arguments, **options)[0])[real]
            target = wanted[real]
            found.append((given - target).square().sum() / (target - target.mean(0)).square().sum())
        errors.append(torch.stack(found).detach())
        optimizer.zero_grad()
        torch.stack(found).sum().backward()
        torch.nn.utils.clip_grad_norm_(learned, 5.0)
        optimizer.step()
        rate.step()
    model.eval()
    last = torch.stack(errors[-max(1, number // 10) :])
    return [float(error) for error in last.mean(0)]


def judged(texts: Sequence[str], tokenizer: Any, longest: int, settings: Distil) -> list[list[int]]:
    """The token ids of those sentences on which `masked_loss` is taken: the first with a token to mask."""
    ids = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    return [row for row in ids if len(row) > 2][: settings.judged]


@torch.inference_mode()
def masked_loss(model: Any, ids: Sequence[Sequence[int]], tokenizer: Any, settings: Distil, seed: int) -> float:
    """Mean loss (nats) of a masked model at tokens behind [MASK], each once in a sentence."""
    generator = torch.Generator().manual_seed(derive(seed, "judge") % 2**63)
    total = 0.0
    for row in ids:
        sentence = torch.tensor(row)[None]
        place = int(torch.randint(1, len(row) - 1, (), generator=generator))
        target = sentence[0, place].clone()
        sentence[0, place] = tokenizer.mask_token_id
        states = model.base_model(sentence.to(model.device))[0]
        head = model.cls.predictions
        total -= float(head(states[:, place]).log_softmax(-1)[0, target])
    return total / len(ids)
