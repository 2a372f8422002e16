"""Names: made up from syllables or read from files, then cleaned as the published study cleaned surnames."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from character_embeddings.settings import FileNames, GeneratedNames
from character_embeddings.vocabulary import END, UNKNOWN
from linear_shortcuts.files import InputError

# Parts of made-up names with their weights. Vowels follow consonants, some endings are common and a few names have
# two words, so that there is something to learn; the sounds are our invention.
ONSETS = {
    **dict.fromkeys(["r", "l", "m", "n", "s", "t", "c", "b", "d", "g"], 8),
    **dict.fromkeys(["p", "v", "f", "z", "j"], 4),
    **dict.fromkeys(["br", "tr", "gr", "cl", "qu", "ll", "ch", "h", "ñ", "y", "gu", "pr"], 2),
    **dict.fromkeys(["k", "w", "x", "fl", "th"], 1),
}
VOWELS = {"a": 12, "e": 9, "o": 8, "i": 6, "u": 4, "ia": 1, "ie": 1, "ue": 1}
CODAS = {"": 20, "r": 3, "n": 3, "s": 2, "l": 2, "z": 1}
ENDINGS = {"": 10, "ez": 4, "a": 3, "o": 3, "ero": 2, "oa": 1, "ena": 1, "al": 1, "ui": 1}
PARTICLES = {"": 60, "de ": 1, "de la ": 1, "san ": 1}
SYLLABLES = {1: 3, 2: 6, 3: 1}


@dataclass(frozen=True)
class Names:
    """names: cleaned, in the order they came in; left_out: how many were not kept, by reason; rows: of the source."""

    names: list[str]
    left_out: dict[str, int]
    rows: int


def read(source: GeneratedNames | FileNames) -> Names:
    """The names of a source, cleaned; `InputError` if none is left."""
    if isinstance(source, GeneratedNames):
        rows = raw = generate(source.number, source.seed)
    else:
        rows = read_files(source.paths, header=source.header)
        raw = sample(rows, source.sample, source.seed)
    cleaned = clean(raw)
    if not cleaned.names:
        raise InputError(f"none of {len(raw):,} names is left after cleaning; give names of at least two letters")
    return replace(cleaned, rows=len(rows))


# --- raw names ---------------------------------------------------------------------------------------------


def generate(number: int, seed: int) -> list[str]:
    """So many distinct made-up names.

    Only `Random.random` is drawn from, by way of `choices`, whose stream Python keeps from version to version.
    """
    draw = random.Random(seed)

    def pick(parts: dict[str, int]) -> str:
        return draw.choices(list(parts), list(parts.values()))[0]

    def make() -> str:
        [syllables] = draw.choices(list(SYLLABLES), list(SYLLABLES.values()))
        start = pick(PARTICLES)
        body = "".join(pick(ONSETS) + pick(VOWELS) + pick(CODAS) for _ in range(syllables))
        return start + body + pick(ONSETS) + (pick(ENDINGS) or pick(VOWELS))

    names: dict[str, None] = {}
    while len(names) < number:
        names[make()] = None
    return list(names)


def read_files(paths: Iterable[str | Path], *, header: bool) -> list[str]:
    """The first column of CSV files, one after the other; a plain list of names is one with a single column."""
    rows: list[str] = []
    for path in map(Path, paths):
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                rows += [row[0] if row else "" for row in islice(csv.reader(file), int(header), None)]
        except FileNotFoundError as error:
            raise InputError(
                f"{path} does not exist; correct its path in sources of params.yaml, or give --file"
            ) from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} cannot be read as a table of text in UTF-8 ({error})") from error
    return rows


def sample(rows: Sequence[str], share: float, seed: int) -> list[str]:
    """A random share of the rows, shuffled: what `DataFrame.sample(frac=share)` gives after `numpy.random.seed(seed)`.

    The study drew so. NumPy has frozen this generator, so the draw is the same without pandas and in every version.
    """
    if share == 1:
        return list(rows)
    chosen = np.random.RandomState(seed).choice(len(rows), size=round(share * len(rows)), replace=False)
    return [rows[row] for row in chosen]


# --- cleaning ----------------------------------------------------------------------------------------------


def clean(raw: Iterable[str]) -> Names:
    """Lower case, `de la` as one word, `_` for spaces; the rest as `reason` says. Duplicates stay.

    >>> clean(["DE LA CRUZ", "O'HARA", "SAN JUAN"]).names
    ['dela_cruz', 'san_juan']
    """
    kept: list[str] = []
    left_out: dict[str, int] = {}
    for name in raw:
        name = name.lower().replace("de la", "dela").replace(" ", "_")
        if why := reason(name):
            left_out[why] = left_out.get(why, 0) + 1
        else:
            kept.append(name)
    return Names(kept, dict(sorted(left_out.items())), len(kept) + sum(left_out.values()))


def reason(name: str) -> str | None:
    """Why a name is not kept; None if it is."""
    if not name.strip("_"):
        return "empty"
    if "'" in name or "ç" in name:
        return "with an apostrophe or ç"
    if UNKNOWN in name or END in name:
        return f"with {UNKNOWN} or {END}, which the vocabulary needs for itself"
    if not name.isprintable():
        return "with control characters"
    return "shorter than two letters" if len(name) < 2 else None
