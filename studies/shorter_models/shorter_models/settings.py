"""What the study's `params.yaml` sets, and where its results lie."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import Model, at_least, known, program, read_params, read_settings

PARAMS = Path("studies/shorter_models/params.yaml")
STUDY = PARAMS.parent
REGISTRY = Path("params.yaml")  # the models are those of the project
EMBEDDED = "docstrings"


@dataclass(frozen=True, kw_only=True)
class Rows:
    fit: int = at_least(1)
    choose: int = at_least(1)
    report: int = at_least(2)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of the study's `params.yaml`."""

    models: tuple[str, ...]
    texts: tuple[str, ...]
    files: dict[str, str]
    seed: int = at_least(0)
    blocks: tuple[int, ...]
    candidates: int = at_least(1)
    length: int = at_least(32)
    rows: Rows
    context: int = at_least(1)
    speed: int = at_least(1)

    def __post_init__(self) -> None:
        for key in ("models", "texts", "blocks"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{key} is {list(values)}; list at least one, each once")
        if EMBEDDED in self.files:
            raise InputError(f"files has {EMBEDDED}, which is the name of the embedded text; give the file another")
        for text in self.texts:
            known("texts", text, {EMBEDDED: None, **self.files}, "files")

    def file(self, text: str) -> str | None:
        """The file of a text; None for the one that is embedded."""
        known("text", text, dict.fromkeys(self.texts), "texts")
        return self.files.get(text)

    def registered(self, model: str) -> Model:
        """A model's entry in the project's registry."""
        registry = read_params(REGISTRY).registry
        known("model", model, registry, f"the registry of {REGISTRY}")
        return registry[model]


def read(path: Path = PARAMS) -> Settings:
    """The study's settings; every problem is an `InputError` of one line."""
    return read_settings(path, Settings)


def parse_args(doc: str | None, *, text: bool = True) -> argparse.Namespace:
    """Parse the command line of a stage that runs for one model and, as a rule, on one text."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="a key of `registry` in the project's params.yaml"
    )
    if text:
        parser.add_argument("--text", required=True, metavar="NAME", help="one of `texts` in the settings")
    program.add_device(parser)
    program.add_params(parser, PARAMS)
    return parser.parse_args()


def calibrated(model: str, text: str) -> Path:
    """Where the cuts and corrections of a model on a text lie."""
    return STUDY / "data" / "calibrated" / model / f"{text}.pickle"


def judged(model: str, text: str) -> Path:
    """Where what all shorter models are worth on a text lies."""
    return STUDY / "data" / "judged" / model / f"{text}.pickle"


def costs(model: str) -> Path:
    """Where what shorter models save lies."""
    return STUDY / "data" / "costs" / f"{model}.json"


TABLES, PLOTS, METRICS = STUDY / "tables", STUDY / "plots", STUDY / "metrics" / "metrics.json"
README = STUDY / "README.md"
RESULTS = STUDY / "results"  # kept tables, a JSON file a model


def kept(model: str) -> dict[Path, Path]:
    """What is kept of a run: where it is made, and where it stays."""
    return {
        TABLES / f"{model}.json": RESULTS / f"{model}.json",
        PLOTS / "figures" / f"{model}.svg": STUDY / "figures" / f"{model}.svg",
    }
