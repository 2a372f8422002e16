"""The command line: `linear-shortcuts check MODEL` and `linear-shortcuts --version`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from linear_shortcuts import __version__
from linear_shortcuts.settings import program

CHECK = """Check whether a model can be studied here: its declaration is held against the model itself.

Runs a few random sentences through the checkpoint and prints, for every invariant, the largest difference seen. The
first thing to do with a new model.

Example: linear-shortcuts check models/tiny-gpt2
"""
EPILOG = "Ends with code 0 if all of it holds, 1 if something does not, 2 if the model cannot be loaded."


def main() -> None:
    args = _parse_args()
    sys.argv[0] = "linear-shortcuts"  # what an error's line begins with; it would be __main__.py
    program.run(lambda: sys.exit(_check(args)))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="linear-shortcuts", description="Linear shortcuts through transformers.")
    parser.add_argument("--version", action="version", version=f"linear-shortcuts {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="hold a model against the declaration of its family",
        description=CHECK,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("model", metavar="MODEL", help="a key of `registry`, a hub id, a folder or a .gguf file")
    check.add_argument("--revision", help="commit of the hub repository (default: the newest)")
    check.add_argument("--dtype", choices=["float32", "bfloat16", "float16", "auto"], help="default: float32")
    check.add_argument("--gguf-file", metavar="FILE", help="the GGUF file in that folder or repository to load")
    check.add_argument("--device-map", metavar="MAP", help="auto, balanced …: spread the blocks over devices")
    check.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    program.add_device(check)
    program.add_params(check)
    return parser.parse_args()


def _check(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from linear_shortcuts.commands import invariants
    from linear_shortcuts.files import InputError
    from linear_shortcuts.models import load_registered, load_registered_tokenizer
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
    entry = replace(entry, **{key: value for key, value in asked.items() if value is not None})
    model = load_registered(entry, args.model, args.device)
    print(f"{invariants.describe(model)}\n\n{invariants.HEAD}", flush=True)
    tokens = invariants.sample_tokens(model)
    failed = 0
    for finding in invariants.check(model, tokens):
        print(invariants.line(finding), flush=True)
        failed += not finding.passed
    reason = ""
    try:
        tokenizer = load_registered_tokenizer(entry)
    except InputError as error:
        tokenizer, reason = None, f"; {error}"
    fits, row = invariants.tokenizer_line(model, tokenizer)
    print(row)
    for note in invariants.notes(model, tokens):
        print(f"\nnote: {note}")
    if failed:
        print(
            f"\n{args.model}: {failed} of {len(invariants.INVARIANTS)} invariants do not hold; results would be wrong"
        )
    elif not fits:
        print(f"\n{args.model}: every invariant holds, but only tokens of your own can be used{reason}")
    else:
        print(f"\n{args.model}: every invariant holds")
    return int(failed > 0 or not fits)
