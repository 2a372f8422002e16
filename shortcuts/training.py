"""Training of the two small shipped models, so that the whole study runs without network, GPU or account.

The text is the docstrings of the installed packages, without any sentence the study itself may read. Nothing here
draws from a global random state: the rows of a batch and the masked tokens follow from seed and step alone, which is
why a killed training continues to the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from shortcuts import __version__, docstrings
from shortcuts.artifacts import atomic_folder, fingerprint
from shortcuts.corpora import Splitter, article_sentences, read_articles, unwrap
from shortcuts.errors import InputError
from shortcuts.params import DocstringsCorpus, Training
from shortcuts.resume import Partial
from shortcuts.seeds import derive

HELD_OUT_SHARE = 0.05  # of source files, never trained on
BERT_INITIAL_STD = 0.05  # a guess that worked; 0.02, made for width 768, is small at width 128
IGNORED = -100  # the label PyTorch's cross-entropy leaves out


# --- text --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingText:
    """Distinct prose sentences, one list per source file; held-out files are never trained on."""

    train: list[list[str]]
    held_out: list[list[str]]
    packages: dict[str, str]  # distribution -> version

    @property
    def sha256(self) -> str:
        return fingerprint([self.train, self.held_out])


def read_training_text(split: Splitter, packages: Iterable[Path], seed: int) -> TrainingText:
    """The prose of the packages' docstrings, without the sentences of the `docstrings` corpus.

    A sentence that occurs twice is kept where it stands first, in the training files before the held-out ones, so
    no held-out sentence was seen in training.
    """
    corpus = DocstringsCorpus(source="docstrings")
    seen = {_normal(s) for article in read_articles(corpus, seed) for s in article_sentences(article, split)}
    files: tuple[list[list[str]], list[list[str]]] = ([], [])
    for package in packages:
        for number, articles in enumerate(docstrings.package_articles(package)):
            sentences = [s for text in articles for s in article_sentences(unwrap(text), split)]
            prose = [s for s in sentences if len(s) <= 400 and docstrings.is_prose(s)]
            held_out = derive(seed, "held out", package.name, number) < HELD_OUT_SHARE * 2**64
            files[held_out].append(prose)
    train, held_out_files = ([_unseen(sentences, seen) for sentences in part] for part in files)
    versions = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return TrainingText(list(filter(None, train)), list(filter(None, held_out_files)), dict(sorted(versions.items())))


def _normal(sentence: str) -> str:
    return " ".join(sentence.casefold().split())


def _unseen(sentences: list[str], seen: set[str]) -> list[str]:
    fresh = []
    for sentence in sentences:
        if (normal := _normal(sentence)) not in seen:
            seen.add(normal)
            fresh.append(sentence)
    return fresh


# --- tokenizers --------------------------------------------------------------------------------------------


def train_tokenizer(settings: Training, sentences: Iterable[str]) -> Any:
    """A tokenizer of the model's kind: byte-level BPE for GPT-2, lower-casing WordPiece for BERT."""
    import tokenizers as tk
    from transformers import PreTrainedTokenizerFast

    if settings.kind == "gpt2":
        end = "<|endoftext|>"
        tokenizer = tk.Tokenizer(tk.models.BPE())
        tokenizer.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tk.decoders.ByteLevel()
        trainer: Any = tk.trainers.BpeTrainer(
            vocab_size=settings.vocabulary,
            special_tokens=[end],
            initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        special = {"bos_token": end, "eos_token": end, "unk_token": end}
    else:
        tokenizer = tk.Tokenizer(tk.models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = tk.normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = tk.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = tk.decoders.WordPiece()
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = tk.trainers.WordPieceTrainer(
            vocab_size=settings.vocabulary, special_tokens=names, show_progress=False
        )
        special = {f"{name[1:-1].lower()}_token": name for name in names}
    tokenizer.train_from_iterator(sentences, trainer)
    if settings.kind == "bert":
        tokenizer.post_processor = tk.processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=settings.context, **special)


def pack(files: Iterable[list[str]], tokenizer: Any, context: int) -> np.ndarray:
    """Rows of `context` token ids, (rows, context) int32, filled with whole sentences of one file after the other.

    Every row starts at the start of a sentence, as the study's inputs do. A sentence cut at the end of a row starts
    the next one.
    """
    start = [] if tokenizer.cls_token_id is None else [tokenizer.cls_token_id]
    end = [tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id]
    sentences = [sentence for file in files for sentence in file]
    encoded = tokenizer(sentences, add_special_tokens=False, verbose=False)["input_ids"] if sentences else []
    rows, row = [], list(start)
    for ids in encoded:
        row += ids + end
        if len(row) >= context:
            rows.append(row[:context])
            cut = len(row) > context and len(start + ids + end) <= context
            row = start + ids + end if cut else list(start)
    return np.array(rows, dtype=np.int32).reshape(-1, context)


# --- training ----------------------------------------------------------------------------------------------


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


# --- judgement ---------------------------------------------------------------------------------------------


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


def model_card(name: str, settings: Training, text: TrainingText, trained_on: int, held_out: HeldOut) -> str:
    """The README of a shipped model: data, steps, held-out loss, and the command that makes it."""
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
| made by | `python stages/02_train_models.py --model {name}`, linear-shortcuts {__version__}, torch \
{torch.__version__} |

The text depends on what is installed. It was: {packages}.
"""


def save_model(folder: Path, model: Any, tokenizer: Any, card: str) -> None:
    """Write config, tokenizer, half-precision weights and the model card."""
    with atomic_folder(folder) as coming:
        model.half().save_pretrained(coming)
        tokenizer.save_pretrained(coming)
        (coming / "README.md").write_bytes(card.encode())
