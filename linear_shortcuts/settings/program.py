"""What every script shares: arguments, and one line instead of a traceback for wrong input."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from linear_shortcuts.files import InputError
from linear_shortcuts.settings.folders import SPLITS


def parse_args(
    doc: str, *, model: bool = True, device: bool = False, split: bool = False, params: Path = Path("params.yaml")
) -> argparse.Namespace:
    """Parse a stage's command line. Its module docstring, with a pasteable example, is its `--help`.

    params: where the settings are by default; a study has its own.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if model:
        parser.add_argument("--model", required=True, metavar="NAME", help="a key of `registry` in params.yaml")
    if split:
        parser.add_argument("--split", choices=SPLITS, help="which sentences (default: both, one after the other)")
    if device:
        add_device(parser)
    add_params(parser, params)
    return parser.parse_args()


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default=os.environ.get("SHORTCUTS_DEVICE", "auto"),
        help="auto, cpu, cuda, cuda:1, mps … (default: $SHORTCUTS_DEVICE, else auto: the fastest there is)",
    )


def add_params(parser: argparse.ArgumentParser, default: Path = Path("params.yaml")) -> None:
    parser.add_argument(
        "--params",
        type=Path,
        default=default,
        metavar="FILE",
        help="settings (default: %(default)s)",
    )


def run(main: Callable[[], None]) -> None:
    """Run a stage; print an `InputError` as one line and exit with code 2, end cleanly when asked to."""
    # The hub's own bars and advice would tear the stage's single bar and closing line.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    signal.signal(signal.SIGTERM, _interrupt)  # what a scheduler sends before it kills
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        main()
    except InputError as error:
        line = " ".join(str(error).split())
        print(f"{_program()}: error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        print(f"{_program()}: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(128 + number)


def _program() -> str:
    """What a line of this process begins with: the script, and which of several ranks it is."""
    name, ranks = Path(sys.argv[0]).name, int(os.environ.get("WORLD_SIZE", "1"))
    return name if ranks == 1 else f"{name}, rank {os.environ['RANK']} of {ranks}"


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)


def _end_with_parent(parent: int) -> None:
    """End this process when the `dvc` that started it has been killed: nobody would take in what it makes."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
