"""Options of the command line, each made from the field of a settings class that it sets."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal

import click
from typing_extensions import Doc


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> list[float]:
        try:
            return [float(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0.1,0.9", param, context)


def options_of(kind: type, without: typing.Container[str] = ()) -> list[click.Parameter]:
    """An option for every field that has words of its own (`Doc`), but for those that a choice does not have."""
    hints = typing.get_type_hints(kind, include_extras=True)
    explained = [item for item in fields(kind) if typing.get_origin(hints[item.name]) is Annotated]
    return [_option(item, hints[item.name]) for item in explained if item.name not in without]


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in values.items() if value not in (None, ())}


def _option(item: Field[Any], hint: Any) -> click.Option:
    kind, doc = typing.get_args(hint)
    assert isinstance(doc, Doc)
    name = item.name.replace("_", "-")
    text = doc.documentation
    if item.default is not MISSING and item.default is not None:
        shown = ",".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
        text += f"  [default: {str(shown).lower() if isinstance(shown, bool) else shown}]"
    flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    if kind == tuple[int, ...]:  # seeds, one --seed each
        return click.Option([f"--{name.removesuffix('s')}", item.name], type=int, multiple=True, help=text)
    return click.Option([flag, item.name], type=_type(kind), default=None, help=text)


def _type(kind: Any) -> Any:
    arguments = [one for one in typing.get_args(kind) if one is not type(None)]
    if isinstance(kind, types.UnionType):
        return _type(arguments[0])
    if typing.get_origin(kind) is Literal:
        return click.Choice(arguments)
    return Numbers() if typing.get_origin(kind) is tuple else kind
