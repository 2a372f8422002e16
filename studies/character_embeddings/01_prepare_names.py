"""Prepare the names: made up or read from files, cleaned, with their vocabulary.

Reads   the source that studies/character_embeddings/params.yaml names, or the files given here
Writes  studies/character_embeddings/data/SOURCE/names.pickle      `names`, a list of text, and `card`
        studies/character_embeddings/data/SOURCE/vocabulary.json   the characters, most frequent first

A file is CSV with the name in the first column, or a plain list; whether it has a header and which share of its rows is
drawn stands in its entry of `sources`. The pairs that each model reads follow from the names.

Example: python studies/character_embeddings/01_prepare_names.py
"""

import argparse

from character_embeddings import settings as study
from linear_shortcuts.files import InputError
from linear_shortcuts.settings import add_params, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--file",
        action="append",
        metavar="FILE",
        help="read this instead of the paths in params.yaml, where `names` is a source of files; may be repeated",
    )
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)

    from dataclasses import asdict, replace

    from character_embeddings import names, vectors
    from character_embeddings.vocabulary import Vocabulary, split
    from linear_shortcuts.files import artifacts

    source = settings.chosen_source
    if args.file:
        if source.source != "file":
            raise InputError(f"--file needs `names` to be a source of files, such as surnames; it is {settings.names}")
        source = replace(source, paths=tuple(args.file))
    found = names.read(source)
    vocabulary = Vocabulary.of(found.names)
    split(found.names, settings.train_share)  # refuses now what later stages could not use, as does the next line
    vectors.check_perplexity(settings.tsne.perplexity, len(vocabulary))
    folders = study.Folders(settings.names)
    card = asdict(source)
    card["sha256"] = [artifacts.file_sha256(path) for path in card.pop("paths", ())]  # where they lie is no matter
    artifacts.save(folders.names, {"names": found.names, "card": {**card, "left_out": found.left_out}})
    vocabulary.save(folders.vocabulary)
    left_out = ", ".join(f"{number:,} {why}" for why, number in found.left_out.items()) or "none"
    print(
        f"{settings.names}: {len(found.names):,} names of {found.rows:,} rows, vocabulary of {len(vocabulary)} "
        f"(left out: {left_out}), in {folders.names}"
    )


if __name__ == "__main__":
    run(main)
