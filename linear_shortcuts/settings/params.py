"""`params.yaml` as typed, validated values: a wrong setting ends in one line that names key, value and mend."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from linear_shortcuts.files import InputError
from linear_shortcuts.settings.checking import at_least, between, known, read_settings


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What every source of sentences has in common."""

    splitter: Literal["auto", "sentencizer", "en_core_web_sm"] = "auto"
    sentences_per_article: int | None = at_least(1, default=None)  # None: all of them
    paragraph_final: bool = False  # the paper's rule: only sentences that end a paragraph
    min_characters: int = at_least(1, default=1)
    max_characters: int = at_least(1, default=2000)

    def __post_init__(self) -> None:
        if self.min_characters > self.max_characters:
            raise InputError(
                f"min_characters is {self.min_characters} but max_characters is {self.max_characters}; "
                "the smaller comes first"
            )


@dataclass(frozen=True, kw_only=True)
class DocstringsCorpus(Corpus):
    """English prose of CPython's own documentation strings: on every machine, no network."""

    source: Literal["docstrings"]


@dataclass(frozen=True, kw_only=True)
class WikipediaCorpus(Corpus):
    """Articles streamed from the Hugging Face hub, or from a local folder in the same layout."""

    source: Literal["wikipedia"]
    dataset: str
    config: str | None
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class FileCorpus(Corpus):
    """The user's own text: `.txt`, `.jsonl` or `.parquet`."""

    source: Literal["file"]
    path: str
    unit: Literal["articles", "sentences"]
    text_field: str = "text"  # of a .jsonl object or a .parquet column


@dataclass(frozen=True, kw_only=True)
class TokensCorpus(Corpus):
    """The user's own token ids and positions, in place of text: there is nothing to draw and to tokenize."""

    source: Literal["tokens"]
    path: str  # a folder with MODEL/tokens_train.pickle and MODEL/tokens_validation.pickle


@dataclass(frozen=True, kw_only=True)
class Sentences:
    train: int = at_least(1)
    validation: int = at_least(2)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The part of the settings that says which sentences are drawn, for whoever has no `params.yaml`."""

    corpus: str  # its name
    chosen_corpus: Corpus
    seed: int = between(0, 2**63, default=0)
    sentences: Sentences
    compatibility: Literal["original"] | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registry entry: where a checkpoint is."""

    path: str  # hub id or local folder
    revision: str | None  # commit of the hub repository; None for a local folder
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"  # of the weights; auto: the checkpoint's
    device_map: str | None = None  # None: one device; else as transformers takes it, such as auto or balanced
    trust_remote_code: bool = False  # run Python code that comes with the checkpoint
    gguf_file: str | None = None  # the GGUF file in that folder or repository which holds the model

    @property
    def checkpoint(self) -> str:
        """What is loaded: the path, with the GGUF file if there is one."""
        return self.path if self.gguf_file is None else f"{self.path}/{self.gguf_file}"


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    max_tokens: int | None = at_least(3)  # None: the model's own limit


@dataclass(frozen=True, kw_only=True)
class Extract:
    positions: Literal["sampled", "all"]  # of the train sentences; validation is always at the sampled position
    precision: Literal["float32", "tf32", "bf16"]  # of the model's own matrix products
    tokens_per_batch: int = at_least(1)
    sentences_per_shard: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Fit:
    targets: Literal["all", "last"]
    memory_gib: float = between(0.1, 10_000)


@dataclass(frozen=True, kw_only=True)
class Exits:
    sentences_per_chunk: int = at_least(1)
    part_sentences: int | None = at_least(2)  # with parts replaced: the first so many; None: all
    part_layers: int = at_least(1)  # and from so many layers on at most
    short_list: int | None = at_least(10, default=None)  # tokens that id and mat choose among; None: all


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    resamples: int = at_least(1)
    confidence: float = between(0.5, 0.9999)


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    lambdas: tuple[float, ...] = field(metadata={"nonempty": True})
    id_lambdas: tuple[float, ...]
    quantiles: int = at_least(0)
    precision: float = between(0.01, 1)


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """Which alternations of blocks and jumps are scored, and on what."""

    sentences: int = at_least(2)  # the first so many of the validation sentences
    numbers: int = at_least(1)  # of blocks run, evenly spaced, at most so many
    chances: int = at_least(0)  # random schedules of each number
    greedy_sentences: int | None = at_least(2)  # the first so many of the train sentences; None: nothing is searched
    ordinary_sentences: int | None = at_least(2)  # of the first so many, ordinary positions get maps; None: none of own


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Between which corpora maps are exchanged, and what is scored of it."""

    corpora: tuple[str, ...]  # others, whose runs lie beside that of `corpus`
    sentences: int = at_least(2)  # the first so many of the validation sentences
    layers: int = at_least(1)  # exits, evenly spaced, at most so many


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """What is fitted for early exit while text is generated."""

    exits: tuple[int, ...] | None  # layers that may be left at; None: three, evenly spaced
    fills: tuple[Literal["map", "kv_map"], ...]  # for what a token did not reach; copying and recomputing need nothing
    short_list: int = at_least(1)  # the most frequent tokens, among which an exit chooses

    def __post_init__(self) -> None:
        if self.exits is not None and not 0 < len({*self.exits}) == len(self.exits):
            raise InputError(f"exits is {list(self.exits)}; list one layer or more, each once, or null for three")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one of the shipped models is trained."""

    kind: Literal["gpt2", "bert"]
    layers: int = at_least(1)
    width: int = at_least(8)
    heads: int = at_least(1)
    context: int = at_least(8)  # tokens the model can read
    short_context: int | None = at_least(8)  # rows of the first steps, as BERT was trained; None: all rows are full
    full_context_steps: int | None = at_least(0)  # last steps, on full rows; None with short_context None
    vocabulary: int = at_least(300)
    masked: float | None = between(0.01, 0.99)  # share of masked tokens; None for a causal model
    steps: int = at_least(1)
    batch: int = at_least(1)  # rows of `context` tokens
    learning_rate: float = between(1e-8, 1)
    warmup_steps: int = at_least(0)
    weight_decay: float = between(0, 1)
    steps_per_checkpoint: int = at_least(1)
    seed: int = at_least(0)
    tied: bool = True  # whether the output embeddings are the input embeddings

    def __post_init__(self) -> None:
        if (self.short_context is None) != (self.full_context_steps is None):
            raise InputError("short_context and full_context_steps go together; set both or null both")
        if self.width % self.heads:
            raise InputError(f"width is {self.width}, which {self.heads} heads do not divide")

    @property
    def contexts(self) -> list[int]:
        """The row lengths of the training, in order."""
        return [self.context] if self.short_context is None else [self.short_context, self.context]

    def context_at(self, step: int) -> int:
        """The row length of a step, counted from 0."""
        return self.contexts[0] if step < self.steps - (self.full_context_steps or 0) else self.context


@dataclass(frozen=True, kw_only=True)
class Params:
    """The whole of `params.yaml`."""

    models: tuple[str, ...]
    corpus: str
    seed: int = between(0, 2**63)
    compatibility: Literal["original"] | None  # None: as docs/DEPARTURES.md explains
    sentences: Sentences
    tokenize: Tokenize
    extract: Extract
    fit: Fit
    exits: Exits
    early_exit: EarlyExit
    schedules: Schedules
    transfer: Transfer
    shortcuts: Shortcuts
    bootstrap: Bootstrap
    corpora: dict[str, DocstringsCorpus | WikipediaCorpus | FileCorpus | TokensCorpus]
    registry: dict[str, Model]
    training: dict[str, Training]

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("models is empty; list at least one key of registry")
        for name in self.models:
            known("models", name, self.registry, "registry")
        if len(set(self.models)) < len(self.models):
            raise InputError(f"models is {list(self.models)}; list each model once")
        known(
            "corpus",
            self.corpus,
            self.corpora,
            "corpora",
            "text of your own needs an entry with `source: file`, tokens one with `source: tokens`",
        )
        for name in self.transfer.corpora:
            known("transfer.corpora", name, self.corpora, "corpora")

    def model(self, name: str) -> Model:
        """The registry entry called `name`; `InputError` with the nearest name if there is none."""
        known("--model", name, self.registry, "registry")
        return self.registry[name]

    def of_corpus(self, other: str) -> Params:
        """The same of another corpus; `InputError` for this one, and with the nearest name if there is none."""
        known("--other", other, self.corpora, "corpora")
        if other == self.corpus:
            raise InputError(f"--other is {other}, which is `corpus` itself; name another key of corpora")
        return replace(self, corpus=other)

    @property
    def chosen_corpus(self) -> DocstringsCorpus | WikipediaCorpus | FileCorpus | TokensCorpus:
        return self.corpora[self.corpus]


def read_params(path: str | Path = "params.yaml") -> Params:
    """Read and check `params.yaml`; every problem is an `InputError` of one line."""
    return read_settings(path, Params)
