"""Training of the two small shipped models, so that the whole study runs without network, GPU or account.

The text is the docstrings of the installed packages, without any sentence the study itself may read. Nothing here
draws from a global random state: the rows of a batch and the masked tokens follow from seed and step alone, which is
why a killed training continues to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from linear_shortcuts.files import InputError, Partial, derive
from linear_shortcuts.settings import Training

BERT_INITIAL_STD = 0.05  # a guess that worked; 0.02, made for width 768, is small at width 128
IGNORED = -100  # the label PyTorch's cross-entropy leaves out


def new_model(settings: Training, tokenizer: Any) -> torch.nn.Module:
    """The untrained model, in Hugging Face's own architecture, initialised from the seed."""
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(derive(settings.seed, "weights") % 2**63)
    if settings.kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_positions=settings.context,
                n_embd=settings.width,
                n_layer=settings.layers,
                n_head=settings.heads,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                tie_word_embeddings=settings.tied,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=4 * settings.width,
            max_position_embeddings=settings.context,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=BERT_INITIAL_STD,
            tie_word_embeddings=settings.tied,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        model.bert.embeddings.position_embeddings.weight.copy_(sinusoids(settings.context, settings.width))
    return model


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Where the learned position embeddings of BERT start: sines and cosines, (positions, width).

    From random ones a model this small stayed at the unigram level for over 2,000 steps, because attention to a
    neighbour has to be found for every position anew. From these it leaves it after a few hundred.
    """
    frequencies = torch.exp(-torch.arange(0, width, 2) / width * math.log(1000))
    angles = torch.arange(positions)[:, None] * frequencies
    return BERT_INITIAL_STD * math.sqrt(2) * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def train(
    settings: Training,
    rows: Mapping[int, np.ndarray],
    tokenizer: Any,
    partial: Partial,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> torch.nn.Module:
    """Train from scratch, or from the newest checkpoint in `partial`.

    rows: context -> packed rows of that many tokens, for each of `settings.contexts`.
    on_step: called after every step with the number of steps done and the loss of that step's batch, in nats.
    """
    from transformers import get_linear_schedule_with_warmup

    if len(rows[settings.context]) < settings.batch:
        raise InputError(f"the training text fills fewer rows than the batch of {settings.batch}; lower `batch`")
    model = new_model(settings, tokenizer).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    schedule = get_linear_schedule_with_warmup(optimizer, settings.warmup_steps, settings.steps)
    first = _restore(partial, model, optimizer, schedule)
    for step in range(first, settings.steps):
        loss = language_loss(model, *batch(settings, rows, step, tokenizer))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        done = step + 1
        on_step(done, loss.item())
        if done % settings.steps_per_checkpoint == 0 or done == settings.steps:
            state = {
                "model": dict(model.state_dict()),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            }
            # Two files in turn: a kill while one is being replaced leaves the other.
            slot = math.ceil(done / settings.steps_per_checkpoint) % 2
            partial.save(f"checkpoint {slot}", {f"checkpoint_{slot}.pickle": state}, note=done)
    return model.eval()


def newest_checkpoint(partial: Partial) -> tuple[int, int | None]:
    """The step of the newest checkpoint and its slot; (0, None) if there is none."""
    slots = [(partial.note(f"checkpoint {slot}"), slot) for slot in (0, 1) if f"checkpoint {slot}" in partial]
    return max(slots, default=(0, None))


def _restore(partial: Partial, model: torch.nn.Module, optimizer: Any, schedule: Any) -> int:
    step, slot = newest_checkpoint(partial)
    if slot is not None:
        state = partial.load(f"checkpoint_{slot}.pickle")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    return step


def batch(
    settings: Training, rows: Mapping[int, np.ndarray], step: int, tokenizer: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of one step, both (rows, tokens): every row once per epoch, in an order of its own.

    Shorter rows come in proportionally larger batches, so that every step sees as many tokens.
    """
    context = settings.context_at(step)
    size = settings.batch * settings.context // context
    epoch, number = divmod(step, len(rows[context]) // size)
    order = np.random.default_rng(derive(settings.seed, "epoch", context, epoch)).permutation(len(rows[context]))
    chosen = rows[context][order[number * size : (number + 1) * size]]
    return prepare(chosen, settings.masked, derive(settings.seed, "mask", step), tokenizer)


def prepare(rows: np.ndarray, masked: float | None, seed: int, tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels for rows of ids: the next token, or a share `masked` of ordinary tokens behind [MASK]."""
    inputs = torch.from_numpy(rows.astype(np.int64))
    labels = torch.full_like(inputs, IGNORED)
    if masked is None:
        labels[:, :-1] = inputs[:, 1:]
        return inputs, labels
    # Always [MASK], never a random or the same token: the study only ever reads at a [MASK].
    ordinary = ~torch.isin(inputs, torch.tensor(tokenizer.all_special_ids))
    draw = np.random.default_rng(seed).random(rows.shape)
    hidden = ordinary & torch.from_numpy(draw < masked)
    labels[hidden] = inputs[hidden]
    return inputs.masked_fill(hidden, tokenizer.mask_token_id), labels


def language_loss(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the labelled positions; the head runs on those only."""
    hidden = model.base_model(input_ids=inputs).last_hidden_state
    labelled = labels != IGNORED
    head = model.cls if hasattr(model, "cls") else model.lm_head
    return F.cross_entropy(head(hidden[labelled]).float(), labels[labelled])
