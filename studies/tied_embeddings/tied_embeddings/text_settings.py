"""What the study's `params.yaml` sets for its experiments on text."""

from __future__ import annotations

from dataclasses import dataclass, field

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import at_least, between, known


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """The shape of the masked language model: a transformer with post-norm and GELU, without positions or dropout."""

    layers: int = at_least(1)
    embedding: int = at_least(1)
    heads: int = at_least(1)
    feedforward: int = at_least(1)
    initial_std: float = between(1e-6, 100)  # of both embeddings

    def __post_init__(self) -> None:
        if self.embedding % self.heads:
            raise InputError(f"embedding is {self.embedding}, which {self.heads} heads do not divide")


@dataclass(frozen=True, kw_only=True)
class TextTraining:
    steps: int = at_least(1)
    batch: int = at_least(8)  # sentences; with fewer a batch may happen to have no masked token
    learning_rate: float = between(1e-8, 1)  # at step 0, falling on a cosine
    half_period: int | None = at_least(1)  # steps of the cosine from its highest to its lowest; None: all steps
    weight_decay: float = between(0, 1)
    steps_per_record: int = at_least(1)
    steps_per_checkpoint: int = at_least(1)
    validation_batches: int = at_least(1)

    def is_recorded(self, step: int) -> bool:
        """Whether distances are recorded after so many steps; always before the first and after the last."""
        return step % self.steps_per_record == 0 or step == self.steps


@dataclass(frozen=True, kw_only=True)
class Clones:
    """Real text with cloned words, and the model that is trained on it."""

    corpus: str  # a key of `corpora` in the project's params.yaml
    sentences: int = at_least(100)  # for training, validation and test together
    tokenizer: str  # a key of `registry` in the project's params.yaml
    max_tokens: int = at_least(8)
    words: str | None  # a file, one word a line; None: the most common ones of the text
    number: int = at_least(2)  # of words, where words is None
    random_pairs: int = at_least(1)
    seed: int = between(0, 2**63)
    model: Encoder
    training: TextTraining


@dataclass(frozen=True, kw_only=True)
class LanguageModels:
    """Language models whose two embeddings are compared."""

    corpus: str  # a key of `corpora` in the project's params.yaml: text to train on and to count in
    sentences: int = at_least(100)
    shapes: tuple[str, ...] = field(metadata={"nonempty": True})  # keys of `training` in the project's params.yaml
    registered: tuple[str, ...]  # keys of `registry` there: trained already, only measured
    layers: int | None = at_least(1)  # of every shape; None: as many as it has
    steps: dict[str, int]  # shape -> steps of training
    context: int | None = at_least(8)  # tokens in a row; None: the shape's whole context
    batch: int = at_least(1)  # rows of that many tokens
    steps_per_checkpoint: int = at_least(1)
    tokens: int = at_least(20)  # the most common ones, whose vectors are compared
    pairs: int = at_least(1)
    neighbors: int = at_least(1)
    seed: int = between(0, 2**63)  # of the random pairs

    def __post_init__(self) -> None:
        for key in ("shapes", "registered"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                raise InputError(f"{key} is {list(names)}; name each once")
        for shape in self.shapes:
            known("shapes", shape, self.steps, "language_models.steps")
        for shape, steps in self.steps.items():
            if steps < 1:
                raise InputError(f"steps.{shape} is {steps}, but must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """The same experiments from several seeds, in shorter trainings."""

    seeds: tuple[int, ...] = field(metadata={"nonempty": True})  # of weights and batches
    clones: int = at_least(1)  # steps of a training on text with cloned words
    language_models: dict[str, int]  # shape -> steps of training

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"repeats.seeds is {list(self.seeds)}; name each once")
