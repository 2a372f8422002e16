"""Records as Markdown and LaTeX, and tokens as readers can see them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from linear_shortcuts.scores import tables

Record = Mapping[str, Any]  # a value is a number, a string or a list of either


def visible(text: str) -> str:
    """A token with its spaces, line breaks and control characters made visible.

    >>> visible(" the\\n")
    '␣the\\\\n'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character == " ":
        return "␣"
    # Marks join with the character before them; a token may be one alone.
    if not character.isprintable() or unicodedata.category(character).startswith("M"):
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"U+{ord(character):04X}")
    return character


def to_markdown(records: Sequence[Record]) -> str:
    """Records as a Markdown table, tokens made visible, numbers with four significant digits."""
    if not records:
        return ""
    rows = [[_markdown_cell(key, value) for key, value in record.items()] for record in records]
    return tables.markdown([key.replace("_", " ") for key in records[0]], rows) + "\n"


def _markdown_cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_code(item) if isinstance(item, str) else str(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return _code(value) if key == "token" else _escaped(str(value))


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{visible(text)}{space}{fence}".replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text whose characters mean nothing to Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>|" else character for character in text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": r"{-}",  # else two of them become a dash
    " ": r"\textvisiblespace{}",
    "␣": r"\textvisiblespace{}",
} | {special: f"\\{special}" for special in "#$%&_{}"}


def latex(text: str) -> str:
    r"""A token as ASCII that LaTeX sets letter by letter; what is not ASCII as its code point.

    >>> latex(" 50%_é")
    '\\textvisiblespace{}50\\%\\_U+00E9'
    """
    shown = "".join(c if c.isascii() or c == "␣" else f"U+{ord(c):04X}" for c in visible(text))
    return "".join(_LATEX.get(character, character) for character in shown)


def latex_tables(titles: Sequence[str], records: Sequence[Sequence[Record]]) -> str:
    """One tabular for each title, a fragment for `\\input`; needs the packages textcomp and fontenc with T1."""
    parts = ["% Needs \\usepackage[T1]{fontenc} and \\usepackage{textcomp}.\n"]
    for title, rows in zip(titles, records, strict=True):
        columns = "".join("l" if isinstance(value, (str, list)) else "r" for value in rows[0].values())
        lines = [" & ".join(_latex_cell(value) for value in row.values()) + r" \\" for row in rows]
        header = " & ".join(latex(key).replace(r"\_", " ") for key in rows[0]) + r" \\"
        parts.append(
            "\\par\\medskip\\noindent " + latex(title).replace(r"\textvisiblespace{}", " ") + "\\par\\smallskip\n"
            f"\\noindent\\begin{{tabular}}{{{columns}}}\n\\hline\n{header}\n\\hline\n"
            + "\n".join(lines)
            + "\n\\hline\n\\end{tabular}\n"
        )
    return "".join(parts)


def _latex_cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(r"\texttt{" + latex(item) + "}" for item in value)
    return f"{value:.2f}" if isinstance(value, float) else latex(str(value))
