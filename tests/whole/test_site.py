"""The documentation site: built strictly, needing nothing of the web, with a place for every public name."""

import importlib
import inspect
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import page_blocks
import pytest

from linear_shortcuts._door import homes
from linear_shortcuts.commands.command_line import make_parser

build = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
DOORS = sorted((REPOSITORY / "linear_shortcuts").rglob("__init__.py"))
LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}
WRITTEN = [*page_blocks.PAGES, REPOSITORY / "README.md"]


class Page(HTMLParser):
    """What a page loads, and the places in it."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.places = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if (tag, name) in LOADS:
                self.loads.add(value)
            if name == "id":
                self.places.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Every page of the site, by its path."""
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(folder), strict=True)
    build.build(config)
    return {
        str(path.relative_to(folder)): Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))
    }


def test_the_site_is_built_strictly_and_loads_nothing_of_the_web(site):
    assert {"index.html", "pipeline.html", "changelog.html", "studies/traveling_words/index.html"} <= set(site)
    assert [load for page in site.values() for load in page.loads if "//" in load] == []
    assert any(load.endswith(".svg") for load in site["studies/traveling_words/index.html"].loads)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.parent.name)
def test_every_public_name_is_explained_and_has_a_place_in_the_reference(door, site):
    package = ".".join(door.parent.relative_to(REPOSITORY).parts)
    for name, module in homes(str(door)).items():
        thing = getattr(importlib.import_module(package), name)
        if inspect.isroutine(thing) or isinstance(thing, type):  # a constant has no docstring of its own
            assert (thing.__doc__ or "").strip(), f"{package}.{name} has no docstring"
        room = module.split(".")[1]
        assert f"{module}.{name}" in site[f"reference/{room}.html"].places


@pytest.mark.parametrize("page", page_blocks.PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_runs(page, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert page_blocks.as_it_runs(page) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_every_command_that_a_page_shows_is_one_that_can_be_given(page):
    for line in re.findall(r"^\$ linear-shortcuts (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        make_parser().parse_args(shlex.split(line, comments=True))
