"""What every script shares: arguments, and one line instead of a traceback for wrong input."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from linear_shortcuts.files import InputError
from linear_shortcuts.settings.folders import SPLITS


def parse_args(
    doc: str,
    *,
    model: bool = True,
    device: bool = False,
    split: bool = False,
    other: bool = False,
    params: Path = Path("params.yaml"),
) -> argparse.Namespace:
    """Parse a stage's command line. Its module docstring, with a pasteable example, is its `--help`.

    params: where the settings are by default; a study has its own.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if model:
        parser.add_argument("--model", required=True, metavar="NAME", help="a key of `registry` in params.yaml")
    if split:
        parser.add_argument("--split", choices=SPLITS, help="which sentences (default: both, one after the other)")
    if other:
        parser.add_argument("--other", required=True, metavar="CORPUS", help="another key of `corpora`, run before")
    if device:
        add_device(parser)
    add_params(parser, params)
    return parser.parse_args()


def add_device(parser: argparse.ArgumentParser) -> None:
    """Give a parser `--device`, which the environment variable SHORTCUTS_DEVICE presets."""
    parser.add_argument(
        "--device",
        default=os.environ.get("SHORTCUTS_DEVICE") or "auto",
        help="auto, cpu, cuda, cuda:1, mps … (default: $SHORTCUTS_DEVICE, else auto: the fastest there "
        "is, unless the text above names another)",
    )


def add_params(parser: argparse.ArgumentParser, default: Path = Path("params.yaml")) -> None:
    """Give a parser `--params`, the file of settings."""
    parser.add_argument(
        "--params",
        type=Path,
        default=default,
        metavar="FILE",
        help="settings (default: %(default)s)",
    )


def run(main: Callable[[], None]) -> None:
    """Run a stage; print an `InputError` as one line and exit with code 2, end cleanly when asked to.

    Whoever reads what is printed may go away, as `head` does: then the stage ends quietly, as other programs do.
    """
    # The hub's own bars and advice would tear the stage's single bar and closing line.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for number in (signal.SIGTERM, signal.SIGINT):  # the first is what a scheduler sends before it kills
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # A stream that was closed by whoever started it is None, and the next file that is opened would take its place.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the program lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale may lack the minus sign of a table
            stream.reconfigure(errors="backslashreplace")
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        main()
        sys.stdout.flush()
    except InputError as error:
        _end_with(str(error))
    except BrokenPipeError:
        _give_up_stdout()
        sys.exit(141)  # 128 and the number of SIGPIPE, which ends other programs here
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        _give_up_stdout()  # files name themselves when they cannot be written
        _end_with(f"its standard output cannot be written ({error.strerror}); give it room, or send it elsewhere")
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        print(f"{_program()}: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(128 + number)


def _program() -> str:
    """What a line of this process begins with: the script, and which of several ranks it is."""
    name, ranks = Path(sys.argv[0]).name, os.environ.get("WORLD_SIZE", "1")
    return name if ranks == "1" else f"{name}, rank {os.environ.get('RANK', '?')} of {ranks}"


def _end_with(message: str) -> NoReturn:
    line = "".join(sign if sign.isprintable() else "?" for sign in " ".join(message.split()))
    print(f"{_program()}: error: {line if len(line) <= 2000 else line[:1999] + '…'}", file=sys.stderr)
    sys.exit(2)


def _give_up_stdout() -> None:
    """Send what is still to be written nowhere, so that Python does not try once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: object) -> None:
    for other in (signal.SIGTERM, signal.SIGINT):  # being told twice, it still ends in order
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def _end_with_parent(parent: int) -> None:
    """End this process when the `dvc` that started it has been killed: nobody would take in what it makes."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
