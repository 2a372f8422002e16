"""`linear-shortcuts generate MODEL PROMPT`: text, streamed, by all blocks or by shortcuts, and what it took."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linear_shortcuts.commands.arguments import (
    EVEN,
    Command,
    add_model,
    add_seed,
    asked_exits,
    given,
    load_asked,
)

if TYPE_CHECKING:
    from linear_shortcuts.decoding import Generated, Shortcuts
    from linear_shortcuts.models import LanguageModel

METHODS = ("full", "early-exit", "self-speculative")
FILLS = ("copy", "map", "kv_map", "recompute")
OF_METHOD = {  # what another method would not heed
    "fill": "early-exit",
    "confidence": "early-exit",
    "measure": "self-speculative",
    "lookup": "self-speculative",
}
ROW = 256  # tokens of a row of text that shortcuts are fitted on, or what the model can read

DESCRIPTION = """Continue a text, with all blocks or with fitted shortcuts, and say what it took.

full              all blocks make every token
self-speculative  the same tokens: fitted maps guess some ahead, and one pass checks them
early-exit        nearly the same: a layer that is sure enough makes the token through its map

Shortcuts are fitted once, from a text of yours, in closed form: --calibrate FILE writes them into --shortcuts FOLDER.

Example: linear-shortcuts generate models/tiny-gpt2 "Return a new list" --new-tokens 20
"""
EPILOG = """--fill says what blocks that a token did not reach are told of it: copy its state, carry it by a map, guess
keys and values by a map (kv_map), or recompute, which is exact."""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("prompt", metavar="PROMPT", help="the text to continue")
    parser.add_argument("--method", choices=METHODS, default="full", help="default: full")
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N", help="at most (default: 64)")
    parser.add_argument("--shortcuts", type=Path, metavar="FOLDER", help="what the two other methods need")
    parser.add_argument("--calibrate", type=Path, metavar="FILE", help="fit them first, on a text in UTF-8")
    parser.add_argument(
        "--exits", metavar="I,J", help=f"with --calibrate, layers that may be left at (default: {EVEN}, three)"
    )
    parser.add_argument("--fill", choices=FILLS, help="of early-exit (default: kv_map)")
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="LAMBDA",
        help="of early-exit: 0 leaves soon, 1.2 never (default: 0.5)",
    )
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="above 0: draw (default: 0)")
    add_seed(parser, "the draws")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="self-speculative: time checks first, so that as many guesses are checked as pay here",
    )
    parser.add_argument(
        "--lookup", action="store_true", help="self-speculative: guess what followed the last tokens before, too"
    )
    parser.add_argument("--show-layers", action="store_true", help="shade every token by the blocks that made it")


def _run(args: argparse.Namespace) -> int:
    from linear_shortcuts.decoding import FLAT, Step, check_costs, generate
    from linear_shortcuts.models import pack
    from linear_shortcuts.text import encode

    _check(args)
    model, tokenizer = load_asked(args)
    pack(model.network)
    shortcuts = _shortcuts(args, model, tokenizer)
    writer = Writer(tokenizer, model.layers if args.show_layers else None)

    def tell(number: int, ids: list[int], step: Step) -> None:
        writer.write(ids, step.layers[0])

    [made] = generate(
        model,
        encode(tokenizer, [args.prompt])["input_ids"],
        new_tokens=args.new_tokens,
        method=args.method,
        shortcuts=shortcuts,
        fill=args.fill or "kv_map",
        confidence=0.5 if args.confidence is None else args.confidence,
        costs=check_costs(model) if args.measure else FLAT,
        lookup=args.lookup,
        temperature=args.temperature,
        seed=args.seed,
        stops=[] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id],
        tell=tell,
    )
    print(f"\n{summary(made, model.layers)}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise `InputError` for an option that would change nothing, before anything is loaded."""
    from linear_shortcuts.files import InputError

    for name, method in OF_METHOD.items():
        if given(args, name) and args.method != method:
            raise InputError(f"--{name} is of --method {method}, and --method is {args.method}; leave --{name} out")
    if args.exits is not None and args.calibrate is None:
        raise InputError("--exits says what is fitted, and nothing is; add --calibrate FILE, or leave --exits out")


def _shortcuts(args: argparse.Namespace, model: LanguageModel, tokenizer: Any) -> Shortcuts | None:
    """Those of the folder, fitted first where a text is given."""
    from linear_shortcuts.decoding import Shortcuts, calibrate, rows_of
    from linear_shortcuts.files import InputError
    from linear_shortcuts.files.cards import check_replaceable

    if args.shortcuts is None:
        if args.calibrate is not None:
            raise InputError("--calibrate fits shortcuts, but into which folder is not said; add --shortcuts FOLDER")
        if args.method != "full":
            raise InputError(f"--method {args.method} needs --shortcuts FOLDER; fit them first with --calibrate FILE")
        return None
    if args.calibrate is not None:
        check_replaceable(args.shortcuts)  # before anything is computed
        try:
            text = args.calibrate.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {args.calibrate} as text ({error}); give a file in UTF-8") from error
        rows = rows_of(tokenizer, [text], min(ROW, model.max_tokens or ROW))
        calibrate(model, rows, exits=asked_exits(args.exits or EVEN, model.layers)).save(args.shortcuts)
    return Shortcuts.load(args.shortcuts, model, made_by="linear-shortcuts generate --calibrate FILE")


class Writer:
    """Text as it comes, a token only once its characters are whole; shaded by layers, if so many are given.

    On a terminal the shade is the background, the darker the fewer blocks; elsewhere the number follows in brackets.
    """

    def __init__(self, tokenizer: Any, layers: int | None) -> None:
        self.tokenizer, self.layers = tokenizer, layers
        self.ids: list[int] = []
        self.written = ""

    def write(self, ids: list[int], layer: int) -> None:
        """Add tokens that were made by `layer` blocks."""
        for token in ids:
            self.ids.append(token)
            text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
            if text.endswith("\ufffd"):
                continue
            new, self.written = text[len(self.written) :], text
            sys.stdout.write(self._shaded(new, layer))
        sys.stdout.flush()

    def _shaded(self, text: str, layer: int) -> str:
        if self.layers is None:
            return text
        if not sys.stdout.isatty():
            return f"{text}[{layer}]"
        grey, ink = 232 + round(23 * layer / self.layers), 15 if 2 * layer < self.layers else 16
        return f"\x1b[48;5;{grey}m\x1b[38;5;{ink}m{text}\x1b[0m"


def summary(made: Generated, layers: int) -> str:
    """One line: how many tokens, how fast, of how many blocks, and how many guesses held."""
    mean = sum(made.layers) / len(made.layers)
    guesses = f", {made.held} of {made.drafted} guesses held, {made.steps} passes" if made.drafted else ""
    return f"{len(made.ids)} tokens, {made.rate:.1f} a second, {mean:.1f} of {layers} blocks on average{guesses}"


GENERATE = Command(
    "generate", "continue a text, with all blocks or with shortcuts", DESCRIPTION, EPILOG, _add_options, _run
)
