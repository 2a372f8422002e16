"""`linear-shortcuts fit MODEL`: the matrices between a model's layers, from text, in one go."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from linear_shortcuts.commands.arguments import (
    EVEN,
    Command,
    add_model,
    add_seed,
    asked_exits,
    asked_model,
    given,
    load_asked,
)

if TYPE_CHECKING:
    from linear_shortcuts.settings import Corpus, Drawing

DESCRIPTION = """Fit the matrices between all layers of a model on text, in one go, and keep nothing but them.

What the pipeline does in its stages, with the same bytes at the end; no DVC and no params.yaml is needed. A killed run
is taken up where it was.

Reads   --text FILE (.txt, .jsonl or .parquet); without it, the prose of this Python's own documentation strings
Writes  linreg/NAME/CORPUS/layers/       i_j.pickle, the A (d, d) for which A @ h_i comes closest to h_j; card.json
        linreg/NAME/CORPUS/submodules/   with --parts, pB_a_b.pickle, the matrix from site a to site b of block B
        linreg/NAME/CORPUS/shortcuts/    with --exits, what `generate --method early-exit` needs

Example: linear-shortcuts fit models/tiny-gpt2
"""
EPILOG = "Then look into a sentence: linear-shortcuts peek MODEL TEXT."
TRAIN, VALIDATION = 9000, 3000  # sentences, as the study has them


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--text", type=Path, metavar="FILE", help="your text, one sentence a line")
    parser.add_argument("--articles", action="store_true", help="FILE has articles, to be split into sentences (spaCy)")
    parser.add_argument("--text-field", metavar="NAME", help="of a .jsonl or .parquet (default: text)")
    parser.add_argument("--train", type=int, metavar="N", help=f"sentences to fit on (default: {TRAIN})")
    parser.add_argument(
        "--validation", type=int, metavar="N", help=f"sentences left out, to score with later (default: {VALIDATION})"
    )
    add_seed(parser, "the draw")
    parser.add_argument(
        "--positions", choices=["sampled", "all"], default="sampled", help="one token of each sentence or all"
    )
    parser.add_argument(
        "--targets", choices=["all", "last"], default="all", help="every pair of layers, or only to the last"
    )
    parser.add_argument("--parts", action="store_true", help="stand-ins of attention, feed-forward and norms, too")
    parser.add_argument(
        "--exits",
        metavar="I,J",
        help=f"also fit what leaves these layers while text is generated; {EVEN}: three layers",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="in place of linreg/NAME/CORPUS")


def model_name(path: str) -> str:
    """The name of a model's folder below linreg/: the last part of its path or hub id."""
    return re.sub(r"[^\w-]+", "_", Path(path).name.removesuffix(".gguf")).strip("_") or "model"


def _run(args: argparse.Namespace) -> int:
    from linear_shortcuts.commands import recipe
    from linear_shortcuts.maps import linear_maps
    from linear_shortcuts.text import tokens

    entry, drawing = asked_model(args), _drawing(args)
    out = args.out or Path("linreg") / model_name(args.model) / drawing.corpus
    recipe.check_folder(out)  # before anything is computed
    model, tokenizer = load_asked(args)
    described = tokens.describe_tokenizer(tokenizer, entry.checkpoint, entry.revision)
    exits = None if args.exits is None else asked_exits(args.exits, model.layers)
    how = recipe.Recipe(drawing=drawing, targets=args.targets, positions=args.positions, parts=args.parts, exits=exits)
    maps = recipe.fit_text(model, tokenizer, described, how, out)
    card = maps.card or {}
    ranks = linear_maps.describe_ranks(card["ranks"], model.width)
    parts = ", those of parts beside it" if args.parts else ""
    print(
        f"{args.model}: {len(maps)} matrices from {model.layers} layers, fitted on {card['vectors']:,} tokens of "
        f"{drawing.corpus} ({ranks}), in {maps.folder}{parts}"
    )
    if exits is not None:
        print(f"{args.model}: what leaves the layers {', '.join(map(str, exits))}, in {out / 'shortcuts'}")
    return 0


def _drawing(args: argparse.Namespace) -> Drawing:
    from linear_shortcuts.files import InputError
    from linear_shortcuts.settings import Drawing, Sentences

    for option, least in (("train", 1), ("validation", 2)):
        value = getattr(args, option)
        if value is not None and value < least:
            raise InputError(f"--{option} is {value}; give {least} or more")
    sentences = Sentences(train=args.train or TRAIN, validation=args.validation or VALIDATION)
    name, corpus = _corpus(args)
    return Drawing(corpus=name, chosen_corpus=corpus, seed=args.seed, sentences=sentences)


def _corpus(args: argparse.Namespace) -> tuple[str, Corpus]:
    from linear_shortcuts.files import InputError
    from linear_shortcuts.settings import DocstringsCorpus, FileCorpus

    if args.text is None:
        for name in ("articles", "text_field"):
            if given(args, name):
                option = name.replace("_", "-")
                raise InputError(f"--{option} says how --text FILE is read; add --text FILE, or leave --{option} out")
        own = DocstringsCorpus(source="docstrings", splitter="sentencizer", min_characters=30, max_characters=400)
        return "docstrings", own
    corpus = FileCorpus(
        source="file",
        path=str(args.text),
        unit="articles" if args.articles else "sentences",
        text_field=args.text_field or "text",
    )
    return model_name(args.text.stem), corpus


FIT = Command("fit", "fit the matrices between a model's layers on text", DESCRIPTION, EPILOG, _add_options, _run)
