"""What commands share: what a command is, and the options that say which model is meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linear_shortcuts.settings import program

if TYPE_CHECKING:
    from linear_shortcuts.models import LanguageModel
    from linear_shortcuts.settings import Model


DEFAULT = Path("params.yaml")
EVEN = "even"  # in the place of layers


@dataclass(frozen=True)
class Command:
    """A command of the command line: `linear-shortcuts NAME`."""

    name: str
    help: str  # its line in the list of commands
    description: str  # what its --help says before the options, with an example that works when pasted
    epilog: str  # what its --help says after them
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]  # prints, and returns the exit code; imports torch only when it is called


def add_model(parser: argparse.ArgumentParser) -> None:
    """Give a parser MODEL and the options that say how it is loaded."""
    parser.add_argument("model", metavar="MODEL", help="a key of `registry`, a hub id, a folder or a .gguf file")
    parser.add_argument("--revision", help="commit of the hub repository (default: the newest)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16", "auto"], help="default: float32")
    parser.add_argument("--gguf-file", metavar="FILE", help="the GGUF file in that folder or repository to load")
    parser.add_argument("--device-map", metavar="MAP", help="auto, balanced …: spread the blocks over devices")
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    program.add_device(parser)
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="settings with a registry (default: params.yaml, if it has one)"
    )


def add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    """Give a parser `--seed`, of some draw."""
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help=f"of {of} (default: 0)")


def seed(text: str) -> int:
    """A seed as it is written in a command line."""
    if not text.isdecimal() or len(text) > 19 or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no whole number from 0 to {2**63 - 1:,}")
    return int(text)


def asked_model(args: argparse.Namespace) -> Model:
    """The entry of the model that `add_model`'s options name: the registry's, if it has one, changed by the options."""
    from linear_shortcuts.settings import Model

    entry = _registry(args.params).get(args.model, Model(path=args.model, revision=None))
    asked = {
        "revision": args.revision,
        "dtype": args.dtype,
        "device_map": args.device_map,
        "trust_remote_code": args.trust_remote_code or None,
        "gguf_file": args.gguf_file,
    }
    return replace(entry, **{key: value for key, value in asked.items() if value is not None})


def _registry(asked: Path | None) -> Mapping[str, Model]:
    from linear_shortcuts.settings import read_params

    if asked is not None:
        return read_params(asked).registry
    try:
        found = DEFAULT.read_bytes()
    except OSError:  # it is not there, or no file, or not to be read
        return {}
    # In the folder of another project, a file of this name is none of ours.
    return read_params(DEFAULT).registry if re.search(rb"^registry:", found, re.MULTILINE) else {}


def load_asked_model(args: argparse.Namespace) -> LanguageModel:
    """The model that `add_model`'s options name, on the device they name."""
    from linear_shortcuts.models import load_registered

    return load_registered(asked_model(args), args.model, args.device)


def load_asked(args: argparse.Namespace) -> tuple[LanguageModel, Any]:
    """The model that `add_model`'s options name, on the device they name, and its tokenizer."""
    from linear_shortcuts.models import load_registered_tokenizer, opened_once

    entry = asked_model(args)
    with opened_once(entry.checkpoint):
        return load_asked_model(args), load_registered_tokenizer(entry)


def given(args: argparse.Namespace, name: str) -> bool:
    """Whether an option without a default, or a flag, was given; a value of 0 was."""
    return getattr(args, name) is not None and getattr(args, name) is not False


def asked_exits(text: str, layers: int) -> list[int]:
    """The layers of an --exits; `even`: three of a network's, evenly spaced.

    Raises `InputError` for what is no list of layers.
    """
    from linear_shortcuts.decoding import spread_exits
    from linear_shortcuts.files import InputError

    if text == EVEN:
        return spread_exits(layers)
    try:
        return sorted({int(layer) for layer in text.split(",")})
    except ValueError:
        raise InputError(f"--exits is {text!r}; give layers, such as 10,20, or {EVEN} for three of them") from None
