"""What the study's `params.yaml` sets, what a single run is made of, and where results lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import Doc

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import at_least, between, known, read_settings
from tied_embeddings.text_settings import Clones, LanguageModels, Repeats

STUDY = Path("studies/tied_embeddings")
PARAMS = STUDY / "params.yaml"
VARIANTS = ("untied", "tied")
SEED = 2**63 - 1


# --- the parts of a run, each a choice ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """mlm: the text of the `clones` section; it takes nothing from here but its name."""

    name: Literal["xor", "mlm"] = "xor"
    # Fewer bits leave no strings to hold out; of more, all examples could not be enumerated.
    bits: Annotated[int, Doc("bits of a string")] = between(4, 12, default=7)
    zero_dst: Annotated[tuple[float, ...], Doc("probabilities of the symbols of bit 0, with commas")] = (0.1, 0.9)
    one_dst: Annotated[tuple[float, ...], Doc("probabilities of the symbols of bit 1, with commas")] = (0.5, 0.5)
    seed: Annotated[int, Doc("of the split")] = between(0, SEED, default=14)
    include_all_ones: Annotated[bool, Doc("keep the string of only ones, which the original leaves out")] = False
    batch: Annotated[int, Doc("sequences a step")] = at_least(1, default=1024)
    shuffle: Annotated[bool, Doc("shuffle what is cut into batches")] = True
    drop_last: Annotated[bool, Doc("drop a last smaller batch")] = False
    # A step of the small models is shorter than the launch of a GPU's kernels.
    device: Annotated[str, Doc("auto, cpu, cuda, …; on a CPU small models are fastest")] = "cpu"

    def __post_init__(self) -> None:
        for key in ("zero_dst", "one_dst"):
            check_distribution(key, getattr(self, key))


def check_distribution(name: str, probabilities: Iterable[float]) -> None:
    """Raise `InputError` unless these are probabilities that sum to 1."""
    values = list(probabilities)
    if not values or not all(0 <= p <= 1 for p in values) or abs(sum(values) - 1) > 1e-9:
        raise InputError(f"{name} is {values}, with the sum {sum(values):g}; give numbers from 0 to 1 with the sum 1")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    name: Literal["transformer", "lstm", "mlp"]
    layers: Annotated[int, Doc("number of layers")] = at_least(1, default=3)
    embedding: Annotated[int, Doc("numbers a symbol has")] = at_least(1, default=128)
    feedforward: Annotated[
        int, Doc("width of a transformer's inner layer, an LSTM's state, a mixer's layers along channels")
    ] = at_least(1, default=512)
    token_feedforward: Annotated[
        int | None, Doc("width of a mixer's layers along positions; as feedforward by default")
    ] = at_least(1, default=None)
    heads: Annotated[int | None, Doc("attention heads of a transformer; 1 by default")] = at_least(1, default=None)
    dropout: Annotated[float, Doc("share of numbers dropped; above 0, models are trained one by one")] = between(
        0, 0.99, default=0.0
    )
    activation: Annotated[Literal["relu", "gelu"], Doc("of a transformer or mixer")] = "relu"  # an LSTM has its own
    tied: bool = False

    def __post_init__(self) -> None:
        for key, name in (("heads", "transformer"), ("token_feedforward", "mlp")):
            if getattr(self, key) is not None and self.name != name:
                raise InputError(f"{key} is {getattr(self, key)} but the model is {self.name}; only a {name} has it")
        if self.embedding % (self.heads or 1):
            raise InputError(f"embedding is {self.embedding}, which {self.heads} heads do not divide")

    @property
    def title(self) -> str:
        """The name in the original's folders, where `wt` means tied."""
        return self.name + "wt" * self.tied


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    name: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Doc("at the first step, or after warm-up")] = between(1e-8, 10, default=0.0001)
    weight_decay: Annotated[float, Doc("of all parameters")] = between(0, 10, default=0.001)
    beta1: Annotated[float, Doc("decay of the first moment")] = between(0, 0.999999, default=0.9)
    beta2: Annotated[float, Doc("decay of the second moment")] = between(0, 0.999999, default=0.999)
    epsilon: Annotated[float, Doc("added to the root of the second moment")] = between(1e-30, 1, default=1e-12)


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    name: Literal["cosine", "none", "warm-up"] = "cosine"
    half_period: Annotated[int, Doc("steps of the cosine from its highest to its lowest")] = at_least(1, default=10_000)
    lowest: Annotated[float, Doc("learning rate at the lowest of the cosine")] = between(0, 10, default=0.00001)
    warm_up: Annotated[int, Doc("steps of a linear rise")] = at_least(1, default=30_000)


def name_as_numpy_does(record: DistanceSettings | EmbeddingSettings) -> None:
    """Give the files of a record the suffix that `numpy.save` gives them."""
    for side in ("input", "output"):
        name = getattr(record, side)
        object.__setattr__(record, side, name if name.endswith(".npy") else f"{name}.npy")


@dataclass(frozen=True, kw_only=True)
class DistanceSettings:
    split: Annotated[Literal["train", "validation"], Doc("when to record: at steps of training, or evaluations")] = (
        "train"
    )
    every: Annotated[int, Doc("steps of training between two records; the end is recorded too")] = at_least(
        1, default=1000
    )
    input: Annotated[str, Doc("file of the input embeddings' record")] = "input_cdists.npy"
    output: Annotated[str, Doc("file of the output embeddings' record")] = "output_cdists.npy"

    def __post_init__(self) -> None:
        name_as_numpy_does(self)


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    split: Annotated[Literal["both", "train", "validation"], Doc("what to log")] = "both"
    every: Annotated[int, Doc("steps and epochs of training between two lines")] = at_least(1, default=1)
    times: Annotated[bool, Doc("write the time into each line; without it equal runs write equal bytes")] = True
    train_step: Annotated[str, Doc("file of the training steps")] = "train_step.log"
    train_epoch: Annotated[str, Doc("file of the training epochs")] = "train_epoch.log"
    validation_step: Annotated[str, Doc("file of the evaluations' steps")] = "valid_step.log"
    validation_epoch: Annotated[str, Doc("file of the evaluations")] = "valid_epoch.log"


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """The matrices themselves, (T, V, d)."""

    every: Annotated[int, Doc("steps between two records; the end is recorded too")] = at_least(1, default=1000)
    input: Annotated[str, Doc("file of the input embeddings' record")] = "input_embeddings.npy"
    output: Annotated[str, Doc("file of the output embeddings' record")] = "output_embeddings.npy"

    def __post_init__(self) -> None:
        name_as_numpy_does(self)


@dataclass(frozen=True, kw_only=True)
class DecoupleSettings:
    """Give a tied model two embeddings of its own after so many epochs."""

    epochs: Annotated[int, Doc("after how many epochs")] = at_least(1)


@dataclass(frozen=True, kw_only=True)
class SaverSettings:
    best: Annotated[bool, Doc("save modelbest.pt")] = True
    last: Annotated[bool, Doc("save modellast.pt, which training can continue from")] = True
    every: Annotated[int | None, Doc("save model<epoch>.pt every so many epochs")] = at_least(1, default=None)
    mode: Annotated[Literal["max", "min"], Doc("whether the best has the highest or the lowest accuracy")] = "max"


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    every: Annotated[int, Doc("epochs between evaluations")] = at_least(1, default=100)
    draws: Annotated[int, Doc("draws of every string at an evaluation")] = at_least(1, default=1)
    seed: Annotated[int, Doc("of those draws")] = between(0, SEED, default=0)


def files_of(callback: DistanceSettings | LogSettings | EmbeddingSettings) -> list[str]:
    """The files that a callback writes into the folder of a seed."""
    if not isinstance(callback, LogSettings):
        return [callback.input, callback.output]
    split = {"train": ["train"], "validation": ["validation"], "both": ["train", "validation"]}[callback.split]
    return [getattr(callback, f"{part}_{unit}") for part in split for unit in ("step", "epoch")]


def check_seeds(seeds: tuple[int, ...]) -> None:
    """Raise `InputError` unless the seeds differ and can be seeds."""
    if len(set(seeds)) < len(seeds) or not all(0 <= seed <= SEED for seed in seeds):
        raise InputError(f"seeds is {list(seeds)}; list different whole numbers from 0")


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that decides the result of one training, of several seeds at once; a config file holds these keys.

    Of a callback there may be none, one, or a list of them.
    """

    seeds: Annotated[tuple[int, ...], Doc("one model each; may be repeated")] = field(metadata={"nonempty": True})
    epochs: Annotated[int, Doc("draws of the whole dataset")] = at_least(0)
    model: ModelSettings
    dataset: DatasetSettings = DatasetSettings()
    validation: DatasetSettings | None = None  # what models are evaluated on; None: the held-out part of `dataset`
    loss: Literal["cross-entropy"] = "cross-entropy"
    optimizer: OptimizerSettings = OptimizerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    cdists: tuple[DistanceSettings, ...] = ()
    log: tuple[LogSettings, ...] = ()
    embedding: tuple[EmbeddingSettings, ...] = ()
    decouple: DecoupleSettings | None = None
    saver: SaverSettings = SaverSettings()
    text: Clones | None = None  # of the dataset mlm
    one_by_one: Annotated[bool, Doc("train one model after another, where that is faster")] = False
    compile: Annotated[bool, Doc("compile the step (needs a C++ compiler)")] = False
    detect_anomaly: Annotated[bool, Doc("stop at a NaN")] = False

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if self.dataset.name == "mlm":  # whose sentences differ in length from draw to draw
            if len(self.seeds) > 1:
                raise InputError(f"seeds is {list(self.seeds)}; on text (mlm) train one seed at a time")
            if self.evaluation.draws > 1:
                raise InputError(f"evaluation.draws is {self.evaluation.draws}; on text (mlm) it must be 1")
        if self.validation is not None:
            shapes = [(d.name, d.bits, len(d.zero_dst), len(d.one_dst)) for d in (self.dataset, self.validation)]
            if self.dataset.name == "mlm" or shapes[0] != shapes[1]:
                raise InputError("validation must be xor with the bits and as many symbols as the dataset trained on")
        if self.decouple is not None and not self.model.tied:
            raise InputError("decouple needs a tied model; choose one, or leave decouple out")
        files = [name for kept in (self.cdists, self.log, self.embedding) for one in kept for name in files_of(one)]
        if twice := sorted({name for name in files if files.count(name) > 1}):
            raise InputError(f"two callbacks write {twice[0]}; give one of them a file of its own")

    def folder(self, seed: int) -> str:
        """The name of a seed's folder, `<seed>-<model>`."""
        return f"{seed}-{self.model.title}"


# --- params.yaml -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pair:
    symbols: tuple[int, ...]
    violates: bool  # the distributional hypothesis: equal meaning, different contexts

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != 2 or len(self.symbols) != 2 or min(self.symbols) < 0:
            raise InputError(f"symbols is {list(self.symbols)}; give two different ids from 0")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an experiment has of its own; `Settings.run` adds what all have in common."""

    zero_dst: tuple[float, ...]
    one_dst: tuple[float, ...]
    pairs: tuple[Pair, ...] = field(metadata={"nonempty": True})  # whose distances are shown
    model: ModelSettings
    learning_rate: float = between(1e-8, 10)
    weight_decay: float = between(0, 10, default=0.1)
    length: float = between(0.0001, 1000, default=1.0)  # times `steps`
    one_by_one: bool = False  # train the seeds one after the other, where that is faster

    def __post_init__(self) -> None:
        for key in ("zero_dst", "one_dst"):
            check_distribution(key, getattr(self, key))
        last = len(self.zero_dst) + len(self.one_dst) - 1
        for pair in self.pairs:
            if max(pair.symbols) > last:
                raise InputError(f"pairs has {list(pair.symbols)}, but the symbols of bits are 0 to {last}")
        named = [sorted(pair.symbols) for pair in self.pairs]
        if twice := [symbols for symbols in named if named.count(symbols) > 1]:
            raise InputError(f"pairs has {twice[0]} twice; name each once")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of the study's `params.yaml`."""

    run: tuple[str, ...] = field(metadata={"nonempty": True})
    steps: int = at_least(1)
    seeds: tuple[int, ...] = field(metadata={"nonempty": True})
    ablation: tuple[str, ...]
    dataset: DatasetSettings
    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    evaluation: EvaluationSettings
    cdists: DistanceSettings
    log: LogSettings
    saver: SaverSettings
    checkpoint: int = at_least(1)
    experiments: dict[str, Experiment]
    clones: Clones
    language_models: LanguageModels
    repeats: Repeats

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if self.log.split == "train":
            raise InputError(
                "log.split is train, but the measures read the log of evaluations; choose both or validation"
            )
        if not self.saver.last:
            raise InputError("saver.last is false, but the measures need the last models; set it to true")
        for key in ("run", "ablation"):
            names = getattr(self, key)
            for name in names:
                known(key, name, self.experiments, "experiments")
            if len(set(names)) < len(names):
                raise InputError(f"{key} is {list(names)}; name each once")
        if len(self.ablation) not in (0, 2):
            raise InputError(f"ablation is {list(self.ablation)}; name an experiment with weight decay and one without")

    def compose(self, experiment: str, variant: str) -> Run:
        """The run of an experiment with tied or untied embeddings."""
        known("experiment", experiment, self.experiments, "experiments")
        own = self.experiments[experiment]
        return Run(
            seeds=self.seeds,
            epochs=max(1, round(self.steps * own.length)),
            model=replace(own.model, tied=variant == "tied"),
            dataset=replace(self.dataset, zero_dst=own.zero_dst, one_dst=own.one_dst),
            optimizer=replace(self.optimizer, learning_rate=own.learning_rate, weight_decay=own.weight_decay),
            scheduler=self.scheduler,
            evaluation=self.evaluation,
            cdists=(self.cdists,),
            log=(self.log,),
            saver=self.saver,
            one_by_one=own.one_by_one,
        )


def read(path: Path = PARAMS) -> Settings:
    """The study's settings; every problem is an `InputError` of one line."""
    return read_settings(path, Settings)


# --- folders -----------------------------------------------------------------------------------------------

STRINGS = STUDY / "data" / "strings.pickle"
TABLES = STUDY / "tables"
PLOTS = STUDY / "plots"
METRICS = STUDY / "metrics" / "metrics.json"


@dataclass(frozen=True)
class Folders:
    """Where the results of one experiment lie. Every path of the study is written here, once."""

    experiment: str

    def runs(self, variant: str) -> Path:
        """A folder for every seed, `<seed>-<model>`."""
        return STUDY / "data" / f"xor-{self.experiment}" / variant

    @property
    def measures(self) -> Path:
        return STUDY / "data" / "measures" / f"xor-{self.experiment}.json"
