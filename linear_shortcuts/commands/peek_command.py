"""`linear-shortcuts peek MODEL TEXT`: what each layer already thinks at each word."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from linear_shortcuts.commands.arguments import Command, add_model, given, load_asked
from linear_shortcuts.commands.fit_command import model_name

if TYPE_CHECKING:
    from linear_shortcuts.lenses import LensSet
    from linear_shortcuts.models import LanguageModel
    from linear_shortcuts.peek import Reading

DESCRIPTION = """See what each layer of a model already thinks at each word of a sentence.

A table: rows are layers, columns words, a cell the first token under the lens, shaded by its probability and marked
where it is already the final answer. A space is shown as ·, a line break as ⏎, bytes that are no character as ⟨E2 80⟩.

Reads   linreg/NAME/CORPUS/layers/, from linear-shortcuts fit MODEL; the lens `id` needs none
Writes  nothing; with --html FILE, one page that works offline

Example: linear-shortcuts peek models/tiny-gpt2 "The shape of the returned array" --lens id
"""
TOP = 5  # tokens of one word, unless --top says otherwise
ONE_OR_OTHER = {  # what would show nothing of the others
    "logitlenskit": ("json", "parts", "position", "token", "difference"),
    "json": ("position", "difference"),
    "html": ("position", "difference"),
    "difference": ("position", "token", "parts"),
    "position": ("token",),
}
EPILOG = "For a masked model write its mask token once, [MASK] for BERT, or give --masked."


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("text", metavar="TEXT", help="the sentence")
    parser.add_argument(
        "--lens",
        default="mat",
        metavar="A,B",
        help="mat, id or a folder of lenses; several: one table each, side by side if they fit (default: mat)",
    )
    parser.add_argument(
        "--maps", type=Path, metavar="FOLDER", help="linreg/NAME/CORPUS (default: the only one there is)"
    )
    parser.add_argument("--parts", action="store_true", help="stand-ins of parts as lenses, too: FOLDER/submodules")
    parser.add_argument("--difference", action="store_true", help="of two lenses: how sure each is of the final answer")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N layers, and the last (default: 1)")
    parser.add_argument(
        "--position", type=int, metavar="P", help="one word, from 0 or from the end, -1: its --top tokens"
    )
    parser.add_argument("--top", type=int, metavar="K", help=f"tokens at --position, at most 10 (default: {TOP})")
    parser.add_argument("--token", metavar="WORD", help="the rank of a word, a single token, in place of the first")
    parser.add_argument("--masked", action="store_true", help="mask every word in turn (masked models)")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")
    parser.add_argument(
        "--logitlenskit", action="store_true", help="print one lens as LogitLensKit's JSON, --top tokens a cell"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to explore, in place of the table")


def _run(args: argparse.Namespace) -> int:
    from linear_shortcuts.files import InputError, atomic_file
    from linear_shortcuts.maps import SubmoduleMaps
    from linear_shortcuts.peek import pieces, read, reading

    names = [name for name in args.lens.split(",") if name]
    _check(args)
    top = TOP if args.top is None else args.top
    if not 1 <= top <= reading.TOP:
        raise InputError(f"--top is {args.top}; give 1 to {reading.TOP}")
    if not names or len({*names}) < len(names):
        raise InputError(f"--lens is {args.lens!r}; name one lens or several, each once, as --lens id,mat")
    if args.difference and len(names) != 2:
        raise InputError(f"--difference is of two lenses, and --lens names {len(names)}; give two, as --lens id,mat")
    if args.logitlenskit and len(names) != 1:
        raise InputError("--logitlenskit prints one lens alone; name one, as --lens mat")
    folder = _maps_folder(args) if "mat" in names or args.parts else None  # before the model, which takes longer
    model, tokenizer = load_asked(args)
    parts = SubmoduleMaps.load(folder / "submodules", model) if args.parts and folder is not None else None
    follow = [pieces.token_of(tokenizer, args.token)] if args.token else []
    found = read(
        model,
        tokenizer,
        args.text,
        {label: _lens(name, folder, model) for label, name in zip(_labels(names), names, strict=True)},
        parts=parts,
        masked=args.masked,
        every=args.every,
        follow=follow,
        ranks=args.json or args.logitlenskit or args.html is not None,
    )
    if args.html is not None:
        with atomic_file(args.html) as file:
            file.write(found.to_html().encode())
    if args.json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
    elif args.logitlenskit:
        print(json.dumps(found.to_logitlenskit(_labels(names)[0], top), ensure_ascii=False))
    elif args.html is not None:
        print(f"{args.model}: {len(found.layers)} layers at {len(found.ids)} tokens, in {args.html}")
    else:
        _print(found, args, follow, top)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise `InputError` for options of which one would show nothing, before anything is loaded."""
    from linear_shortcuts.files import InputError

    for one, others in ONE_OR_OTHER.items():
        for other in others:
            if given(args, one) and given(args, other):
                raise InputError(f"--{one} would show nothing of --{other}; leave one of the two out")
    if args.top is not None and not (args.logitlenskit or given(args, "position")):
        raise InputError("--top is of --position and --logitlenskit; add one of them, or leave --top out")


def _labels(names: list[str]) -> list[str]:
    """What lenses are shown under: the last part of a folder's path, or all of it where that names several."""
    last = [Path(name).name for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def _print(found: Reading, args: argparse.Namespace, follow: list[int], top: int) -> None:
    from linear_shortcuts.files import InputError
    from linear_shortcuts.peek import terminal

    console, names = terminal.Screen(), list(found.lenses)
    if args.position is not None and args.position not in range(-len(found.ids), len(found.ids)):
        raise InputError(f"--position is {args.position}, and the text has tokens 0 to {len(found.ids) - 1}")
    if args.difference:
        views = [terminal.differences(found, names[0], names[1], console.width)]
    elif args.position is not None:
        views = [terminal.column(found, name, args.position, top, console.width) for name in names]
    elif follow:
        views = [terminal.ranks(found, name, follow[0], console.width) for name in names]
    else:
        views = [terminal.tables(found, name, console.width) for name in names]
    console.print(*terminal.beside(views, console.width), sep="\n")


def _maps_folder(args: argparse.Namespace) -> Path:
    """The folder with `layers`, and perhaps `submodules`, of this model."""
    from linear_shortcuts.files import InputError

    if args.maps is not None:
        return args.maps
    home = Path("linreg") / model_name(args.model)
    found = sorted(path.parent for path in home.glob("*/layers"))
    if not found:
        raise InputError(
            f"no lens was fitted for {args.model} yet; run linear-shortcuts fit {args.model}, or read with --lens id"
        )
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise InputError(f"{args.model} has maps of several corpora, {listed}; say which, as --maps {found[0]}")
    return found[0]


def _lens(name: str, folder: Path | None, model: LanguageModel) -> LensSet:
    from linear_shortcuts.files import InputError
    from linear_shortcuts.lenses import LensSet
    from linear_shortcuts.lenses.lens_set import WEIGHTS
    from linear_shortcuts.maps import LayerMaps

    if name == "id":
        return LensSet.identity(model)
    if name == "mat" and folder is not None:
        return LensSet.of_maps(LayerMaps.load(folder / "layers", model, made_by="linear-shortcuts fit"))
    if not (Path(name) / WEIGHTS).is_file():
        raise InputError(f"--lens {name} is neither mat nor id, nor a folder of lenses")
    return LensSet.load(name, model)


PEEK = Command("peek", "see what each layer already thinks at each word", DESCRIPTION, EPILOG, _add_options, _run)
