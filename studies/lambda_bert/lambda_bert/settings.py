"""What the study's `params.yaml` sets, and where its results lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import at_least, between, known, read_settings

STUDY = Path("studies/lambda_bert")
PARAMS = STUDY / "params.yaml"
README = STUDY / "README.md"
KEPT = STUDY / "kept.json"  # what no stage measures: trials of single settings, and a layer's time and memory
REGISTRY = Path("params.yaml")  # of the project: its models, and the sentences that are short-cut
Kind = Literal["bert", "lambdabert"]
EARLY = "early-lambdabert"  # one that was stopped when it had learned as much as the BERT


@dataclass(frozen=True, kw_only=True)
class DocstringsText:
    """Python's own documentation strings: each with two sentences or more is a document."""

    source: Literal["docstrings"]


@dataclass(frozen=True, kw_only=True)
class FilesText:
    """The user's own text: .jsonl or .parquet with an article a row, anything else in the layout of WikiText."""

    source: Literal["files"]
    train: tuple[str, ...] = field(metadata={"nonempty": True})
    validation: tuple[str, ...] | None
    sentences: bool
    text_field: str


@dataclass(frozen=True, kw_only=True)
class WikitextText:
    """WikiText as the hub has it, Parquet files in a folder for each configuration: a row is a line of text."""

    source: Literal["wikitext"]
    dataset: str  # a local copy's folder, or the hub's id
    config: str
    revision: str | None  # of the hub


Source = DocstringsText | FilesText | WikitextText


@dataclass(frozen=True, kw_only=True)
class Pairs:
    validation_share: float = between(0.001, 0.9)
    block_size: int = at_least(8)
    short_probability: float = between(0, 1)
    duplicates: int = between(1, 1000)

    @property
    def cutting(self) -> dict[str, Any]:
        """How documents become pairs, as `lambda_bert.pairs.make_datasets` takes it."""
        return {name: getattr(self, name) for name in ("block_size", "short_probability", "duplicates")}


@dataclass(frozen=True, kw_only=True)
class Shape:
    layers: int = at_least(1)
    width: int = at_least(1)
    intermediate: int = at_least(1)
    heads: int = at_least(1)
    initializer_range: float = between(0, 1)
    key_depth: int = at_least(1)
    intra_depth: int = at_least(1)
    local_context: int | None = at_least(1)
    position_initializer_range: float = between(0, 1)
    query_scale: float = between(0, 10)

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise InputError(f"width is {self.width}; it must be even, and {self.heads} heads must divide it")
        if self.local_context is not None and self.local_context % 2 == 0:
            raise InputError(f"local_context is {self.local_context}; a window with a token in its middle is odd")


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    bert: float = between(1e-8, 1)
    lambdabert: float = between(1e-8, 1)


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    steps: int = at_least(1)
    batch: int = at_least(1)
    masked: float = between(0.001, 0.9)  # a model that sees no word of a text learns nothing from it
    learning_rate: LearningRates
    warmup_steps: int = at_least(0)
    weight_decay: float = between(0, 1)
    steps_per_checkpoint: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    variants: tuple[str, ...] = field(metadata={"nonempty": True})  # of `lambda_bert.ablation.VARIANTS`
    seeds: tuple[int, ...] = field(metadata={"nonempty": True})


@dataclass(frozen=True, kw_only=True)
class Matching:
    steps_per_evaluation: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class DistilSteps:
    bert: int = at_least(1)
    lambdabert: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Distil:
    teacher: str
    steps: DistilSteps
    batch: int = at_least(2)
    masked: float = between(0, 0.9)
    learning_rate: float = between(1e-8, 1)
    judged: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    own: tuple[str, ...]
    equal: tuple[tuple[str, ...], ...] = field(metadata={"nonempty": True})
    beside: tuple[str, ...]

    def __post_init__(self) -> None:
        names = (*self.own, *self.beside)
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"own and beside have {twice[0]!r} twice; name each once")
        if missing := [name for name in self.compared if name not in names]:
            raise InputError(f"equal has {missing[0]!r}, which is neither in own nor in beside; put it there")

    @property
    def compared(self) -> tuple[str, ...]:
        """The models of `equal`, group after group."""
        return tuple(name for group in self.equal for name in group)


@dataclass(frozen=True, kw_only=True)
class Lambdas:
    model: Literal["lambdabert", "distilled-lambdabert"]
    train: int = at_least(10)
    validation: int = at_least(10)
    words: int = at_least(2)
    examples: tuple[str, ...] = field(metadata={"nonempty": True})
    k: int = between(1, 100)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of the study's `params.yaml`."""

    text: str
    task: Literal["nsp", "sop"]
    models: tuple[Kind, ...] = field(metadata={"nonempty": True})
    tokenizer: str
    seed: int = between(0, 2**32 - 1)  # what NumPy's older generator, which Trainer seeds, accepts
    pairs: Pairs
    shape: Shape
    pretrain: Pretrain
    ablation: Ablation
    matching: Matching
    distil: Distil
    shortcuts: Shortcuts
    lambdas: Lambdas
    sources: dict[str, Source]

    def __post_init__(self) -> None:
        known("text", self.text, self.sources, "sources")
        if len(set(self.models)) < len(self.models):
            raise InputError(f"models is {list(self.models)}; name each once")
        if missing := {"bert", "lambdabert"}.difference(self.models):
            raise InputError(f"models is {list(self.models)}; {missing.pop()} is missing, which it is compared with")

    @property
    def chosen_source(self) -> Source:
        return self.sources[self.text]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The study's models: pre-trained, stopped early, and distilled from a teacher."""
        return (*self.models, EARLY, *(f"distilled-{name}" for name in self.models))

    @property
    def folders(self) -> Folders:
        return Folders(self.text, self.task)


def read(path: Path = PARAMS) -> Settings:
    """The study's settings; every problem is an `InputError` of one line."""
    return read_settings(path, Settings)


@dataclass(frozen=True)
class Folders:
    """Where the results for one text and task lie. Every path of the study is written here, once."""

    text: str
    task: str

    @property
    def documents(self) -> Path:
        return self._data / "documents.pickle"

    @property
    def pairs(self) -> Path:
        return self._data / "pairs.pickle"

    def model(self, name: str) -> Path:
        """What stage 02 makes of one of `models`: configuration, weights, tokenizer, results and log."""
        return self._data / name

    def ablation(self, variant: str, seed: int) -> Path:
        """What stage 08 finds of one training."""
        return self.ablations / f"{variant}-{seed}.json"

    @property
    def ablations(self) -> Path:
        return STUDY / "ablation" / self.text / self.task

    def shortcuts(self, name: str) -> Path:
        """What stage 05 makes of a model: layer maps, stand-ins of parts, scores."""
        return self._data / "shortcuts" / name

    @property
    def lambdas(self) -> Path:
        return self._data / "lambdas"

    @property
    def pretraining_table(self) -> Path:
        return STUDY / "tables" / self.text / self.task / "pretraining"

    @property
    def pretraining_plots(self) -> Path:
        return STUDY / "plots" / self.text / self.task / "pretraining"

    @property
    def pretraining_metrics(self) -> Path:
        return STUDY / "metrics" / self.text / self.task / "pretraining.json"

    @property
    def ablation_table(self) -> Path:
        return STUDY / "tables" / self.text / self.task / "ablation"

    @property
    def ablation_plots(self) -> Path:
        return STUDY / "plots" / self.text / self.task / "ablation"

    @property
    def ablation_metrics(self) -> Path:
        return STUDY / "metrics" / self.text / self.task / "ablation.json"

    @property
    def report_tables(self) -> Path:
        return STUDY / "tables" / self.text / self.task / "report"

    @property
    def report_plots(self) -> Path:
        return STUDY / "plots" / self.text / self.task / "report"

    @property
    def metrics(self) -> Path:
        return STUDY / "metrics" / self.text / self.task / "metrics.json"

    @property
    def timings(self) -> Path:
        """Measured speeds: no two runs agree on them, so that DVC does not track them."""
        return STUDY / "timings" / self.text / self.task

    @property
    def _data(self) -> Path:
        return STUDY / "data" / self.text / self.task
