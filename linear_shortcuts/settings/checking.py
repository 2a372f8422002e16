"""Settings checked against dataclasses: every problem is one line that names key, value and what is allowed."""

from __future__ import annotations

import difflib
import functools
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from linear_shortcuts.files import InputError, shown

Settings = TypeVar("Settings")


def at_least(minimum: float, **kwargs: Any) -> Any:
    """A field of a settings class whose number may not be smaller."""
    return field(metadata={"min": minimum}, **kwargs)


def between(minimum: float, maximum: float, **kwargs: Any) -> Any:
    """A field of a settings class whose number lies between two others, both allowed."""
    return field(metadata={"min": minimum, "max": maximum}, **kwargs)


# What a file may hold. An alias or a merge counts as all that it stands for, or a few lines could be walked for ever.
_CHARACTERS = 200_000  # some 20 times the file this project ships
_NODES = 50_000
_DEPTH = 50

_type_hints = functools.cache(typing.get_type_hints)  # it evaluates each annotation anew


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.nodes = 0  # composed so far, those behind an alias counted again
            self.depth = 0
            self.sizes: dict[str, int] = {}  # of each anchor whose node is complete

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            mark: Any = event.start_mark
            before = self.nodes
            if isinstance(event, yaml.AliasEvent):
                if event.anchor in self.anchors and event.anchor not in self.sizes:
                    raise yaml.composer.ComposerError(None, None, f"{event.anchor} holds itself", mark)
                self.nodes += self.sizes.get(event.anchor or "", 0)
            self.nodes += 1
            self.depth += 1
            if self.nodes > _NODES or self.depth > _DEPTH:
                what = f"more than {_NODES:,} values" if self.nodes > _NODES else f"values nested {_DEPTH} deep"
                raise yaml.composer.ComposerError(None, None, f"{what}, which no settings need", mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
                self.sizes[event.anchor] = self.nodes - before
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            # PyYAML would take the last of two equal keys without a word; DVC refuses the file.
            names = Counter(key.value for key, _ in node.value if key.tag == "tag:yaml.org,2002:str")
            for name, times in names.items():
                if times > 1:
                    raise yaml.constructor.ConstructorError(None, None, f"key {name!r} stands twice", node.start_mark)
            return super().construct_mapping(node, deep)

    return Loader


def read_settings(path: str | Path, kind: type[Settings]) -> Settings:
    """Read a YAML file as a dataclass of settings, such as a study's own; problems as in `read_params`."""
    import yaml

    path = Path(path)
    try:
        # DVC reads YAML 1.2 and PyYAML 1.1; the two agree on what this file uses (write 0.001, not 1e-3).
        text = path.read_text(encoding="utf-8")
        if len(text) > _CHARACTERS:
            raise ValueError(f"its {len(text):,} characters are more than the {_CHARACTERS:,} that settings may have")
        raw = yaml.load(text, _loader())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run from the folder that holds it, or give --params") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give --params a file") from error
    # PyYAML lets a ValueError through from an impossible date or number, and recurses as deep as the file nests.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not valid YAML: {reason}") from error
    try:
        return build(kind, raw, "")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def build(kind: Any, value: Any, key: str) -> Any:
    """Turn plain YAML data into `kind`: a dataclass, tuple, dict, union, literal or scalar type.

    Raises `InputError` that names the dotted key, the value, and what is allowed.
    """
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, key)
    if origin in (typing.Union, types.UnionType):
        return _build_union(arguments, value, key)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise _wrong(key, value, f"one of {', '.join(map(str, arguments))}", suggest=(value, arguments))
        return value
    if origin is tuple:
        if is_dataclass(arguments[0]) and (value is None or isinstance(value, dict)):
            value = [] if value is None else [value]  # none, or one where several may stand
        if not isinstance(value, list):
            raise _wrong(key, value, "a list")
        return tuple(build(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        for name in _mapping(value, key):
            _check_name(key, name)
        return {name: build(arguments[1], item, f"{key}.{name}") for name, item in value.items()}
    return _build_scalar(kind, value, key)


def _build_dataclass(kind: Any, value: Any, key: str) -> Any:
    value = _mapping(value, key)
    known = {item.name: item for item in fields(kind)}
    for name in value:
        if name not in known:
            raise InputError(f"unknown key {_dotted(key, name)}{_did_you_mean(name, known)}")
    hints = _type_hints(kind)
    built = {}
    for name, item in known.items():
        dotted = _dotted(key, name)
        if name not in value:
            if item.default is MISSING:
                raise InputError(f"{dotted} is missing; the file this project ships has it, with a comment")
            continue
        built[name] = build(hints[name], value[name], dotted)
        _check_range(built[name], item.metadata, dotted)
    try:
        return kind(**built)
    except InputError as error:
        raise InputError(f"{key}: {error}" if key else str(error)) from error


def _build_union(options: tuple[Any, ...], value: Any, key: str) -> Any:
    if type(None) in options:
        if value is None:
            return None
        options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return build(options[0], value, key)
    # Dataclasses told apart by their `source`, as the corpora are.
    by_source = {typing.get_args(_type_hints(option)["source"])[0]: option for option in options}
    source = _mapping(value, key).get("source")
    if not isinstance(source, str) or source not in by_source:
        raise _wrong(_dotted(key, "source"), source, f"one of {', '.join(by_source)}", suggest=(source, by_source))
    return build(by_source[source], value, key)


def _build_scalar(kind: Any, value: Any, key: str) -> Any:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not kind:
        raise _wrong(key, value, names[kind])
    if kind is float and not math.isfinite(value):
        raise _wrong(key, value, "a finite number")
    if kind is str and not value.strip():
        raise _wrong(key, value, "text that is not empty")
    return value


def _check_range(value: Any, metadata: Mapping[str, Any], key: str) -> None:
    if value is None:
        return
    if metadata.get("nonempty") and not value:
        raise _wrong(key, list(value), "a list of at least one")
    minimum, maximum = metadata.get("min"), metadata.get("max")
    if minimum is not None and value < minimum:
        raise _wrong(key, value, f"at least {minimum}")
    if maximum is not None and value > maximum:
        raise _wrong(key, value, f"at most {maximum}")


def _check_name(key: str, name: str) -> None:
    """Raise `InputError`, with a name that would do, unless `name` can be a folder, an argument and a key of DVC's."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", name):
        return
    why = "DVC reads a dot as nesting" if "." in name else "it becomes a folder and an argument of commands"
    better = re.sub(r"[^A-Za-z0-9_-]+", "_", name[:100]).lstrip("-") or "_"
    raise InputError(
        f"{key} has an entry {shown(name)}, but {why}; use up to 100 letters, digits, '_' and '-', '-' not first, "
        f"such as {better!r}"
    )


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _wrong(key or "the file", value, "a mapping of names to values")
    return value


def known(key: str, name: str, names: Mapping[str, Any], where: str, mend: str = "") -> None:
    """Raise `InputError`, with the nearest name and the mend, if the setting `key` names what is not in `names`."""
    if name not in names:
        raise InputError(
            f"{key} names {name!r}, which is not in {where}{_did_you_mean(name, names)}; known: {', '.join(names)}"
            f"{f'; {mend}' if mend else ''}"
        )


def _wrong(key: str, value: Any, allowed: str, suggest: tuple[Any, Any] | None = None) -> InputError:
    try:
        shown = repr(value)
    except ValueError:
        shown = "a number of thousands of digits"
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return InputError(f"{key} is {shown}; it must be {allowed}{_did_you_mean(*suggest) if suggest else ''}")


def _did_you_mean(name: Any, known: Any) -> str:
    close = difflib.get_close_matches(str(name), list(map(str, known)), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _dotted(key: str, name: str) -> str:
    name = name if name.isprintable() else repr(name)  # a line break would tear the message
    return f"{key}.{name}" if key else name
