"""What the study's `params.yaml` sets, what a single run is made of, and where results lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import at_least, between, known, read_settings
from tied_embeddings.text_settings import Clones, LanguageModels

STUDY = Path("studies/tied_embeddings")
PARAMS = STUDY / "params.yaml"
VARIANTS = ("untied", "tied")
SEED = 2**63 - 1


# --- the parts of a run, each a choice ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """mlm: the text of the `clones` section; it takes nothing from here but its name."""

    name: Literal["xor", "mlm"] = "xor"
    bits: int = between(4, 12, default=7)  # fewer leave no strings to hold out; all examples are enumerated
    zero_dst: tuple[float, ...] = (0.1, 0.9)
    one_dst: tuple[float, ...] = (0.5, 0.5)
    seed: int = between(0, SEED, default=14)
    include_all_ones: bool = False
    batch: int = at_least(1, default=1024)
    shuffle: bool = True
    drop_last: bool = False
    device: str = "cpu"  # auto, cpu, cuda, …; a step of the small models is shorter than the launch of a GPU's kernels

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
    """feedforward: width of a transformer's inner layer, an LSTM's state, a mixer's layers along channels."""

    name: Literal["transformer", "lstm", "mlp"]
    layers: int = at_least(1, default=3)
    embedding: int = at_least(1, default=128)
    feedforward: int = at_least(1, default=512)
    token_feedforward: int | None = at_least(1, default=None)  # of a mixer along positions; None: feedforward
    heads: int | None = at_least(1, default=None)  # of a transformer; None: 1
    dropout: float = between(0, 0.99, default=0.0)
    activation: Literal["relu", "gelu"] = "relu"  # an LSTM has its own
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
    learning_rate: float = between(1e-8, 10, default=0.0001)
    weight_decay: float = between(0, 10, default=0.001)
    beta1: float = between(0, 0.999999, default=0.9)
    beta2: float = between(0, 0.999999, default=0.999)
    epsilon: float = between(1e-30, 1, default=1e-12)


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    name: Literal["cosine", "none", "warm-up"] = "cosine"
    half_period: int = at_least(1, default=10_000)  # steps of the cosine from its highest to its lowest
    lowest: float = between(0, 10, default=0.00001)  # learning rate there
    warm_up: int = at_least(1, default=30_000)  # steps of a linear rise


@dataclass(frozen=True, kw_only=True)
class DistanceSettings:
    split: Literal["train", "validation"] = "train"
    every: int = at_least(1, default=1000)  # steps, for train; at every evaluation for validation
    input: str = "input_cdists.npy"
    output: str = "output_cdists.npy"


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    split: Literal["both", "train", "validation"] = "both"
    every: int = at_least(1, default=1)  # steps and epochs of training
    times: bool = True  # whether lines tell when; without, equal runs write equal bytes
    train_step: str = "train_step.log"
    train_epoch: str = "train_epoch.log"
    validation_step: str = "valid_step.log"
    validation_epoch: str = "valid_epoch.log"


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """The matrices themselves, (T, V, d)."""

    every: int = at_least(1, default=1000)
    input: str = "input_embeddings.npy"
    output: str = "output_embeddings.npy"


@dataclass(frozen=True, kw_only=True)
class DecoupleSettings:
    """Give a tied model two embeddings of its own after so many epochs."""

    epochs: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class SaverSettings:
    best: bool = True  # modelbest.pt
    last: bool = True  # modellast.pt, which training can continue from
    every: int | None = at_least(1, default=None)  # model<epoch>.pt every so many epochs
    mode: Literal["max", "min"] = "max"  # which (accuracy, -loss) is the best


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    every: int = at_least(1, default=100)  # epochs
    draws: int = at_least(1, default=1)  # of every string
    seed: int = between(0, SEED, default=0)


def check_seeds(seeds: tuple[int, ...]) -> None:
    """Raise `InputError` unless the seeds differ and can be seeds."""
    if len(set(seeds)) < len(seeds) or not all(0 <= seed <= SEED for seed in seeds):
        raise InputError(f"seeds is {list(seeds)}; list different whole numbers from 0")


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that decides the result of one training, of several seeds at once; a config file holds these keys."""

    seeds: tuple[int, ...] = field(metadata={"nonempty": True})
    epochs: int = at_least(0)
    model: ModelSettings
    dataset: DatasetSettings = DatasetSettings()
    loss: Literal["cross-entropy"] = "cross-entropy"
    optimizer: OptimizerSettings = OptimizerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    cdists: DistanceSettings | None = None
    log: LogSettings | None = None
    embedding: EmbeddingSettings | None = None
    decouple: DecoupleSettings | None = None
    saver: SaverSettings = SaverSettings()
    text: Clones | None = None  # of the dataset mlm
    one_by_one: bool = False
    compile: bool = False
    detect_anomaly: bool = False

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if self.dataset.name == "mlm":  # whose sentences differ in length from draw to draw
            if len(self.seeds) > 1:
                raise InputError(f"seeds is {list(self.seeds)}; on text (mlm) train one seed at a time")
            if self.evaluation.draws > 1:
                raise InputError(f"evaluation.draws is {self.evaluation.draws}; on text (mlm) it must be 1")
        if self.decouple is not None and not self.model.tied:
            raise InputError("decouple needs a tied model; choose one, or leave decouple out")

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
            cdists=self.cdists,
            log=self.log,
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
