"""What commands share: what a command is, and the options that say which model is meant."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linear_shortcuts.settings import program

if TYPE_CHECKING:
    from linear_shortcuts.models import LanguageModel
    from linear_shortcuts.settings import Model


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
    program.add_params(parser)


def asked_model(args: argparse.Namespace) -> Model:
    """The entry of the model that `add_model`'s options name: the registry's, if it has one, changed by the options."""
    from linear_shortcuts.settings import Model, read_params

    registry = read_params(args.params).registry if Path(args.params).exists() else {}
    entry = registry.get(args.model, Model(path=args.model, revision=None))
    asked = {
        "revision": args.revision,
        "dtype": args.dtype,
        "device_map": args.device_map,
        "trust_remote_code": args.trust_remote_code or None,
        "gguf_file": args.gguf_file,
    }
    return replace(entry, **{key: value for key, value in asked.items() if value is not None})


def load_asked_model(args: argparse.Namespace) -> LanguageModel:
    """The model that `add_model`'s options name, on the device they name."""
    from linear_shortcuts.models import load_registered

    return load_registered(asked_model(args), args.model, args.device)
