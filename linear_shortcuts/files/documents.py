"""Documents with parts that are made from data, so that what they say cannot drift from it.

A part stands between two comments, which a reader of the page does not see:

    <!-- made: NAME -->
    …
    <!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from linear_shortcuts.files.atomic import atomic_file
from linear_shortcuts.files.errors import InputError

_PART = re.compile(r"(?P<head><!-- made: (?P<name>[\w-]+) -->\n)(?:.*?\n)??(?P<end><!-- end -->)", re.DOTALL)


def filled(text: str, parts: Mapping[str, str], what: str | Path) -> str:
    """A document with every part replaced by the one of its name.

    Raises `InputError`, naming `what`, if the document's parts are not those that were made.
    """
    there = [match["name"] for match in _PART.finditer(text)]
    if sorted(there) != sorted(parts):
        wrong = sorted({*there} ^ {*parts}) or sorted({name for name in there if there.count(name) > 1})
        raise InputError(f"{what} has the parts {', '.join(there)}; mend its `<!-- made: … -->` lines: {wrong}")
    return _PART.sub(lambda match: f"{match['head']}{parts[match['name']].strip()}\n{match['end']}", text)


def fill(path: Path, parts: Mapping[str, str]) -> None:
    """Rewrite the parts of a document in place; see `filled`."""
    text = filled(path.read_text(encoding="utf-8"), parts, path)
    with atomic_file(path) as file:
        file.write(text.encode())
