"""`linear-shortcuts shorten MODEL`: an ordinary checkpoint with fewer blocks, and what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linear_shortcuts.commands.arguments import Command, add_model, add_seed, asked_model, load_asked

if TYPE_CHECKING:
    from linear_shortcuts.models import LanguageModel
    from linear_shortcuts.text.article_rows import Row

DESCRIPTION = """Make a model shorter: an ordinary checkpoint with fewer blocks, its loss stated.

With --blocks K it is chosen which K consecutive blocks a model misses least: cheap scores rank all cuts, and the KL
that a cut causes on held-out text decides among the first. With --exit I the first I blocks are kept, and a head that
holds the linear map from layer I to the last; of an encoder of sentences, the map follows the mean over tokens. Plain
transformers (or sentence-transformers) loads what is written. Nothing is trained; minutes on a CPU.

Example: linear-shortcuts shorten models/tiny-gpt2 --blocks 1 --out shorter
"""
EPILOG = """Methods: fold, a matrix folded into the last kept block's down-projection; drop, nothing; and, only
measured, because no checkpoint can hold a matrix on the stream itself: patch (LinearPatch) and matrix, the full one."""
EMBEDDED = "docstrings of Python's standard library and NumPy"
SIZES = {"fit": 96, "choose": 16, "report": 40}  # rows; of 256 tokens, 24,000 positions to fit on
LENGTH = 256
SENTENCES = {"fit": 6000, "choose": 1000, "report": 3000}  # for an encoder


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--blocks", type=int, metavar="K", help="leave out K consecutive blocks")
    what.add_argument("--exit", type=int, metavar="I", help="keep the first I blocks and leave by a mapped head")
    parser.add_argument("--out", metavar="DIR", help="the checkpoint, a new folder (default: nothing is written)")
    parser.add_argument("--start", type=int, metavar="I", help="first block left out, from 0 (default: it is chosen)")
    parser.add_argument("--method", choices=["fold", "drop", "patch", "matrix"], default="fold", help="default: fold")
    parser.add_argument("--text", metavar="FILE", help=f".txt, .jsonl or .parquet (default: {EMBEDDED})")
    add_seed(parser, "the draw of articles")


def _run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from linear_shortcuts.files import InputError
    from linear_shortcuts.shorten import (
        check_exit,
        check_free,
        check_method,
        exit_at,
        possible_cuts,
        save,
        shorten,
        summary,
    )
    from linear_shortcuts.text import articles_of, split_rows

    if args.exit is not None and (args.start is not None or args.method != "fold"):
        raise InputError("--start and --method are of --blocks; leave them out with --exit")
    if args.out is not None:
        check_free(args.out)  # before anything is computed
        check_method(args.method)
    model, tokenizer = load_asked(args)
    if model.family.headless:
        return _shorten_encoder(args, model, tokenizer)
    if args.exit is not None:
        check_exit(model, args.exit)
    else:
        possible_cuts(model, args.blocks, args.start, args.method)
    length = min(LENGTH, model.max_tokens or LENGTH)
    masked = model.mask_token is not None
    rows = split_rows(articles_of(args.text), tokenizer, SIZES, length=length, masked=masked, seed=args.seed)

    def bars(own: Iterable[Row], what: str) -> Iterable[Row]:
        return tqdm(own, desc=f"{args.model}: {what}", unit="row", disable=None)

    if args.exit is not None:
        made = exit_at(model, rows, args.exit, seed=args.seed, bars=bars)
    else:
        options = {"method": args.method, "start": args.start, "seed": args.seed}
        made = shorten(model, rows, args.blocks, bars=bars, **options)
    print(summary(made, args.model))
    if args.out is not None:
        print(f"\n{args.model}: written to {save(made, args.out, tokenizer, of=args.model, text=_text(args))}")
    return 0


def _shorten_encoder(args: argparse.Namespace, model: LanguageModel, tokenizer: Any) -> int:
    from tqdm import tqdm

    from linear_shortcuts.files import InputError
    from linear_shortcuts.shorten import encoder_layouts, encoders, exit_encoder, save_encoder
    from linear_shortcuts.text import articles_of, docstrings, make_splitter, sentence_splits

    if args.exit is None:
        raise InputError(f"{args.model} is an encoder, whose loss of a cut in KL is not known; give --exit I")
    entry = asked_model(args)
    most = encoder_layouts.max_tokens_of(entry.path, entry.revision) or model.max_tokens
    options = {"wanted": docstrings.is_prose} if args.text is None else {}
    split, _ = make_splitter("sentencizer")
    texts = sentence_splits.split_sentences(articles_of(args.text), split, SENTENCES, seed=args.seed, **options)
    read = {name: encoders.read(tokenizer, own, most) for name, own in texts.items()}

    def bars(work: Iterable[Any], what: str) -> Iterable[Any]:
        return tqdm(work, desc=f"{args.model}: {what}", unit="batch", disable=None)

    made = exit_encoder(model, read, args.exit, max_tokens=most, seed=args.seed, bars=bars)
    print(encoder_layouts.summary(made, args.model))
    if args.out is not None:
        folder = save_encoder(made, args.out, tokenizer, of=args.model, text=_text(args))
        print(f"\n{args.model}: written to {folder}")
    return 0


def _text(args: argparse.Namespace) -> str:
    """The name of what was fitted on."""
    return EMBEDDED if args.text is None else Path(args.text).name


SHORTEN = Command("shorten", "write a checkpoint with fewer blocks", DESCRIPTION, EPILOG, _add_options, _run)
