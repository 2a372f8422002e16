"""`params.yaml`: whatever is wrong ends in one line that names the key, the value and what is allowed."""

import copy
import math
import signal
import sys
import types
import typing
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.settings.checking import build
from linear_shortcuts.settings.params import Params, read_params
from linear_shortcuts.settings.program import run

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))


# --- every value of the shipped file, with the type its dataclass declares ---------------------------------


@dataclass(frozen=True)
class Place:
    """One value of the shipped file: where it is, and what is declared for it."""

    path: tuple[str | int, ...]
    hint: Any
    field: Field | None  # None for the entries of a list or of a mapping of free names

    @property
    def key(self) -> str:
        """The path as the messages write it, such as `models[0]` or `registry.gpt2.path`."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)[1:]

    @property
    def kinds(self) -> tuple[Any, ...]:
        """What the value may be: the members of a union, otherwise the hint itself."""
        is_union = typing.get_origin(self.hint) in (typing.Union, types.UnionType)
        return typing.get_args(self.hint) if is_union else (self.hint,)

    def bound(self, which: str) -> float | None:
        return self.field.metadata.get(which) if self.field else None


def places(hint: Any, value: Any, path: tuple = (), field: Field | None = None) -> typing.Iterator[Place]:
    if path:
        yield Place(path, hint, field)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(typing.get_args(hint)[0], item, (*path, index))
    elif isinstance(value, dict) and typing.get_origin(hint) is dict:
        for name, item in value.items():
            yield from places(typing.get_args(hint)[1], item, (*path, name))
    elif isinstance(value, dict):
        kind = dataclass_of(hint, value)
        hints, declared = typing.get_type_hints(kind), {item.name: item for item in fields(kind)}
        for name, item in value.items():
            yield from places(hints[name], item, (*path, name), declared[name])


def dataclass_of(hint: Any, value: Any) -> Any:
    """The dataclass a mapping is read as; of several, the one with the mapping's `source`."""
    options = [option for option in (typing.get_args(hint) or (hint,)) if is_dataclass(option)]
    sources = [typing.get_type_hints(option).get("source") for option in options]
    return next(
        option
        for option, source in zip(options, sources, strict=True)
        if len(options) == 1 or value["source"] in typing.get_args(source)
    )


PLACES = list(places(Params, SHIPPED))
DECLARED = [place for place in PLACES if place.field]
NUMBERS = [place for place in DECLARED if {int, float} & set(place.kinds)]
MAPPINGS = [Place((), Params, None), *(place for place in PLACES if any(map(is_dataclass, place.kinds)))]


def by_key(place: Place) -> str:
    return place.key or "top"


def changed(path: tuple, value: Any = MISSING, *, name: str | None = None) -> Any:
    """The shipped settings with one value replaced, left out (MISSING), or added under a new `name`."""
    raw = copy.deepcopy(SHIPPED)
    *parents, last = path if name is None else (*path, name)
    target = raw
    for part in parents:
        target = target[part]
    if value is MISSING:
        del target[last]
    else:
        target[last] = value
    return raw


def at(params: Params, path: tuple) -> Any:
    value: Any = params
    for part in path:
        value = getattr(value, part) if is_dataclass(value) else value[part]
    return value


def refusal(raw: Any) -> str:
    """The message with which these settings are refused: one line."""
    with pytest.raises(InputError) as caught:
        build(Params, raw, "")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names_key(message: str, key: str) -> bool:
    """Whether a message is about this key, or about an entry inside it."""
    return message.removeprefix("unknown key ").startswith((f"{key} ", f"{key}.", f"{key}[", f"{key}:"))


def outcome(raw: Any) -> Params | str:
    """The settings, or the message with which they are refused."""
    try:
        return build(Params, raw, "")
    except InputError as error:
        return str(error)


def test_the_walk_meets_every_kind_of_value():
    """The positive control of everything below: it is parametrised over what the walk finds."""
    keys = {place.key for place in PLACES}
    assert {"seed", "models[0]", "sentences.train", "corpora.wikipedia.revision", "registry.gpt2.path"} <= keys
    assert len(DECLARED) > 70
    assert {item.name for item in fields(Params)} == set(SHIPPED)


# --- the shipped file --------------------------------------------------------------------------------------


def test_the_shipped_file_is_valid():
    params = read_params(REPOSITORY / "params.yaml")
    assert params.models == ("tiny-gpt2", "tiny-bert")
    assert (params.sentences.train, params.sentences.validation) == (9000, 3000)
    assert params.chosen_corpus is params.corpora["docstrings"]
    assert params.early_exit.lambdas[0] == -1.112


def test_the_two_changes_that_make_it_the_real_study_are_valid():
    params = build(Params, {**SHIPPED, "models": ["gpt2", "bert-base-uncased"], "corpus": "wikipedia"}, "")
    assert params.chosen_corpus.dataset == "wikimedia/wikipedia"


# --- one value at a time -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", DECLARED, ids=by_key)
def test_a_missing_value_is_named_unless_it_has_a_default(place):
    raw = changed(place.path)
    if place.field.default is MISSING:
        assert names_key(refusal(raw), place.key)
    else:
        assert at(build(Params, raw, ""), place.path) == place.field.default


WRONG = {
    "text": "some text",
    "empty text": "  ",
    "whole number": 7,
    "number": 1.5,
    "yes": True,
    "nothing": None,
    "list": ["some text"],
    "nested list": [[1]],
    "mapping": {"some": "text"},
}


def admits(kind: Any, value: Any) -> bool:
    """Whether a value is of the declared kind, bounds apart."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is type(None):
        return value is None
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, list) and all(admits(arguments[0], item) for item in value)
    if kind is str:
        return isinstance(value, str) and bool(value.strip())
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind  # a mapping of names to mappings admits none of the samples


@pytest.mark.parametrize("place", PLACES, ids=by_key)
def test_a_value_of_a_wrong_type_is_named_with_what_is_allowed(place):
    refused = 0
    for name, value in WRONG.items():
        if any(admits(kind, value) for kind in place.kinds):
            continue
        message = refusal(changed(place.path, value))
        assert names_key(message, place.key), (name, message)
        assert "must be" in message or "unknown key" in message or "is missing" in message, (name, message)
        refused += 1
    assert refused >= 5


@pytest.mark.parametrize("place", NUMBERS, ids=by_key)
def test_a_negative_number_is_refused(place):
    assert place.bound("min") is not None, "a number without a lower bound"
    for value in (-1, -(10**30)):
        message = refusal(changed(place.path, value))
        assert names_key(message, place.key)
        assert f"at least {place.bound('min')}" in message


@pytest.mark.parametrize("place", NUMBERS, ids=by_key)
def test_a_number_just_below_its_least_is_refused(place):
    least = place.bound("min")
    below = least - 1 if int in place.kinds else math.nextafter(least, -math.inf)
    assert names_key(refusal(changed(place.path, below)), place.key)


@pytest.mark.parametrize("place", NUMBERS, ids=by_key)
def test_a_huge_number_is_refused_where_there_is_a_bound_and_kept_exactly_where_there_is_none(place):
    most = place.bound("max")
    if float in place.kinds:
        assert most is not None, "a real number without an upper bound"
    if most is None:
        result = outcome(changed(place.path, 10**30))
        if isinstance(result, str):  # it must fit to another key, as min_characters to max_characters
            assert place.path[-1] in result
        else:
            assert at(result, place.path) == 10**30
        return
    message = refusal(changed(place.path, 10**30))
    assert names_key(message, place.key)
    assert f"at most {most}" in message
    assert at(build(Params, changed(place.path, most), ""), place.path) == most  # the bound itself is allowed


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400], ids=["inf", "-inf", "nan", "googol^4"])
@pytest.mark.parametrize("place", [place for place in PLACES if float in place.kinds], ids=by_key)
def test_a_number_that_is_not_finite_is_refused(place, value):
    assert names_key(refusal(changed(place.path, value)), place.key)


@pytest.mark.parametrize("place", MAPPINGS, ids=by_key)
def test_an_unknown_key_is_named_with_the_nearest_known_one(place):
    known = SHIPPED
    for part in place.path:
        known = known[part]
    for name in known:
        typo = name[:-1] + name[-1] * 2
        message = refusal(changed(place.path, 1, name=typo))
        dotted = f"{place.key}.{typo}" if place.key else typo
        assert message == f"unknown key {dotted} (did you mean {name!r}?)"
    assert "did you mean" not in refusal(changed(place.path, 1, name="zzzzzzzz"))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(PLACES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
        ),
        max_leaves=5,
    ),
)
def test_any_value_anywhere_is_read_or_refused_in_one_line(place, value):
    result = outcome(changed(place.path, value))
    if isinstance(result, str):
        assert "\n" not in result
        assert len(result) < 600


# --- values that must fit together -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("models",), [], "models is empty"),
        (("models",), ["tiny-gtp2"], "models names 'tiny-gtp2', which is not in registry (did you mean 'tiny-gpt2'?)"),
        (("models",), ["tiny-gpt2", "tiny-gpt2"], "list each model once"),
        (("shortcuts", "exits"), [], "shortcuts: exits is []; list one layer or more, each once, or null for three"),
        (("shortcuts", "exits"), [3, 3], "shortcuts: exits is [3, 3]; list one layer or more, each once"),
        (("corpus",), "docstring", "corpus names 'docstring', which is not in corpora (did you mean 'docstrings'?)"),
        (("corpora", "docstrings"), MISSING, "corpus names 'docstrings', which is not in corpora"),
        (("registry", "tiny-bert"), MISSING, "models names 'tiny-bert', which is not in registry"),
        (("corpora", "my-text", "min_characters"), 3000, "corpora.my-text: min_characters is 3000"),
        (("corpus",), "mine", "text of your own needs an entry with `source: file`, tokens one with `source: tokens`"),
        (("corpora", "my-text", "source"), "fil", "corpora.my-text.source is 'fil'; it must be one of docstrings"),
        (("corpora", "my-text", "unit"), "article", "(did you mean 'articles'?)"),
        (
            ("corpora", "wikipedia", "splitter"),
            "spacy",
            "corpora.wikipedia.splitter is 'spacy'; it must be one of auto",
        ),
        (("early_exit", "lambdas"), [], "early_exit.lambdas"),
        (("early_exit", "lambdas"), [0.5, "0.6"], "early_exit.lambdas[1] is '0.6'; it must be a number"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(path, value, expected):
    assert expected in refusal(changed(path, value))


def test_no_thresholds_for_id_alone_is_a_choice():
    assert build(Params, changed(("early_exit", "id_lambdas"), []), "").early_exit.id_lambdas == ()


def test_another_corpus_is_a_known_one_and_not_the_same():
    params = build(Params, SHIPPED, "")
    assert params.of_corpus("my-text").corpus == "my-text"
    with pytest.raises(InputError, match="--other is docstrings, which is `corpus` itself; name another"):
        params.of_corpus("docstrings")
    with pytest.raises(InputError, match="--other"):
        params.of_corpus("../x")


def test_a_model_that_is_not_registered_is_named_with_the_nearest():
    params = build(Params, SHIPPED, "")
    assert params.model("gpt2").path == "openai-community/gpt2"  # registered, though not in `models`
    with pytest.raises(InputError, match=r"--model names 'gpt3', which is not in registry \(did you mean 'gpt2'\?\)"):
        params.model("gpt3")


# --- the file itself ---------------------------------------------------------------------------------------

NAMES = {
    "qwen2.5-0.5b": "qwen2_5-0_5b",
    "my-text.v2": "my-text_v2",
    "../../../x": "_x",
    "/etc/passwd": "_etc_passwd",
    ".": "_",
    "..": "_",
    "": "_",
    "my text": "my_text",
    "$HOME": "_HOME",
    "-rf": "rf",
    "a\nb": "a_b",
    "a\x1b[31m": "a_31m",
    "a\0": "a_",
    "gr\u00f6\u00dfe": "gr_e",
    "a*": "a_",
    "x" * 101: "x" * 100,
}


@pytest.mark.parametrize("where", ["registry", "corpora", "training"])
def test_a_name_that_cannot_be_a_folder_is_refused_with_one_that_can(where):
    entry = next(iter(SHIPPED[where].values()))
    for name, better in NAMES.items():
        message = refusal(changed((where,), entry, name=name))
        assert message.startswith(f"{where} has an entry "), message
        assert message.endswith(f"such as {better!r}")
        assert message.isprintable()
        assert len(message) < 500
        assert ("DVC reads a dot as nesting" in message) == ("." in name)
        build(Params, changed((where,), entry, name=better), "")  # the advice is good
    for name in ("gpt2", "GPT_2-xl", "7b", "x" * 100):
        build(Params, changed((where,), entry, name=name), "")


# --- as a user meets it ------------------------------------------------------------------------------------


def bad_settings() -> typing.Iterator[tuple[str, Any]]:
    """Every value of the shipped file missing, of wrong types, negative and huge; every mapping with a misspelt key."""
    for place in PLACES:
        if place in DECLARED and place.field.default is MISSING:
            yield f"{place.key} missing", changed(place.path)
        for value in (None, True, -1, -0.5, 10**30, "twelve", [], {}, [[1]], {"a": 1}):
            raw = changed(place.path, value)
            if isinstance(outcome(raw), str):
                yield f"{place.key} = {value!r}", raw
    for place in MAPPINGS:
        yield f"{place.key} with another key", changed(place.path, 1, name="sede")


def test_every_bad_setting_ends_with_code_2_and_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stages/01_fetch_sentences.py"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process is not a stage
    path = tmp_path / "bad.yaml"
    path.write_text("in the place of each of them: writing and parsing them all takes half a minute")
    cases = dict(bad_settings())
    for name, raw in cases.items():
        monkeypatch.setattr(yaml, "load", lambda *_, raw=raw: raw)
        with pytest.raises(SystemExit) as caught:
            run(lambda: read_params(path))
        out, err = capsys.readouterr()
        assert (caught.value.code, out) == (2, ""), name
        assert err.startswith(f"01_fetch_sentences.py: error: {path}: "), name
        assert err.count("\n") == 1, name
        assert len(err) < 700, name
    assert len(cases) >= 300
    places = {name.split(" ")[0] for name in cases}
    assert places >= {place.key for place in PLACES}, "no value goes unchecked"
