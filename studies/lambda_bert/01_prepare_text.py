"""Read documents, hold some out, and cut all of them into pairs of segments.

Reads   the source that studies/lambda_bert/params.yaml names, or the files given here; the tokenizer
Writes  studies/lambda_bert/data/TEXT/TASK/   documents.pickle: `train` and `validation`, lists of lists of lines;
        pairs.pickle: `train` and `validation`, as lambda_bert/pairs.py has them

Example: python studies/lambda_bert/01_prepare_text.py
"""

import argparse
from pathlib import Path

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import add_params, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--file", action="append", metavar="FILE", help="train on this instead of the paths in params.yaml; repeatable"
    )
    parser.add_argument("--validation-file", action="append", metavar="FILE", help="and score on this; repeatable")
    add_params(parser, Path("studies/lambda_bert/params.yaml"))
    args = parser.parse_args()

    from dataclasses import replace

    from lambda_bert import documents
    from lambda_bert.pairs import make_datasets
    from lambda_bert.settings import read
    from linear_shortcuts.files import artifacts
    from linear_shortcuts.models import load_tokenizer

    settings = read(args.params)
    source = settings.chosen_source
    if args.file or args.validation_file:
        if source.source != "files":
            raise InputError(f"--file needs `text` to be a source of files, such as my-text; it is {settings.text}")
        given = {"train": args.file, "validation": args.validation_file}
        source = replace(source, **{name: tuple(paths) for name, paths in given.items() if paths})
    tokenizer = load_tokenizer(settings.tokenizer)
    train, validation = documents.read_source(source, settings.pairs.validation_share, settings.seed)
    train_pairs, validation_pairs, left_out = make_datasets(
        train, validation, tokenizer, settings.task, **settings.pairs.cutting, seed=settings.seed
    )
    folders = settings.folders
    artifacts.save(folders.documents, {"train": train, "validation": validation})
    artifacts.save(folders.pairs, {"train": train_pairs.arrays(), "validation": validation_pairs.arrays()})
    why = ", ".join(f"{number:,} {reason}" for reason, number in left_out.items()) or "nothing"
    print(
        f"{settings.text}, {settings.task}: {len(train):,} + {len(validation):,} documents, {len(train_pairs):,} + "
        f"{len(validation_pairs):,} pairs of {train_pairs.lengths.mean():.0f} tokens (left out: {why}), "
        f"in {folders.pairs}"
    )


if __name__ == "__main__":
    run(main)
