"""What the pages of this project name is there: links, headings, scripts, targets of the Makefile, tests."""

import json
import re
import runpy
from pathlib import Path

import pytest

from linear_shortcuts.files import documents

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "models/tiny-*/*.md", "studies/*/*.md")
    for page in REPOSITORY.glob(pattern)
)
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
TARGETS |= {f"study-{path.parent.name}" for path in REPOSITORY.glob("studies/*/dvc.yaml")}


def by_path(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links spell them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_are_found():
    """The positive control."""
    assert {"README.md", "CHANGELOG.md", "docs/ROOMS.md", "studies/lambda_bert/README.md"} <= set(map(by_path, PAGES))
    assert {"repro", "real", "test", "docker-build", "study-lambda_bert"} <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_every_link_inside_the_project_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_scripts_targets_and_tests_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    for script in re.findall(r"python ((?:\w+/)+\w+\.py)", text):
        assert (REPOSITORY / script).exists(), script
    for target in re.findall(r"(?:`|\$ )make ([\w-]+)", text):
        assert target in TARGETS or target == "study-NAME", target
    for test in re.findall(r"\btest_\w+\.py", text.replace("test_x.py", "")):
        assert list(REPOSITORY.glob(f"tests/*/{test}")), test


def test_the_text_of_every_figure_can_be_searched_and_edited():
    figures = sorted(REPOSITORY.glob("docs/figures/**/*.svg")) + sorted(REPOSITORY.glob("studies/*/figures/*.svg"))
    assert len(figures) > 40
    assert [by_path(path) for path in figures if "<text" not in path.read_text(encoding="utf-8")] == []


def test_the_tables_of_massive_activations_are_those_of_the_numbers_kept():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "massive_activations.py"))
    page = (REPOSITORY / "docs" / "NUMERICS.md").read_text(encoding="utf-8")
    parts = made["parts"](json.loads(made["KEPT"].read_text()))
    assert documents.filled(page, parts, "NUMERICS.md") == page
    assert len(parts) == 3


@pytest.mark.parametrize("script", ["alternation", "decoding", "transfer", "encoder_exits", "mapped_exits"])
def test_the_tables_of_a_benchmark_s_page_are_those_of_the_numbers_kept(script):
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / f"{script}.py"))
    page = made["PAGE"].read_text(encoding="utf-8")
    parts = made["parts"](json.loads(made["KEPT"].read_text()))
    assert documents.filled(page, parts, made["PAGE"]) == page
    assert parts


def test_the_tables_of_early_exit_are_those_of_the_numbers_kept():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "early_exit_page.py"))
    page = made["PAGE"].read_text(encoding="utf-8")
    found, listed = (json.loads(made[name].read_text()) for name in ("KEPT", "LISTS"))
    parts = made["parts"](found) | {"lists": made["lists"](listed)}
    assert documents.filled(page, parts, made["PAGE"]) == page
    assert len(parts) == 5


def test_the_tables_of_real_models_are_those_of_the_numbers_kept():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "results_page.py"))
    for path, parts in (("docs/RESULTS.md", made["parts"]()), ("README.md", made["readme_parts"]())):
        page = (REPOSITORY / path).read_text(encoding="utf-8")
        assert documents.filled(page, parts, path) == page
    assert len(made["parts"]()) >= 2


def test_what_the_results_say_of_an_encoder_is_what_is_kept():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "results_page.py"))
    kept = (made["KEPT"] / "all-minilm-l6-v2").glob("*.json")
    found = [json.loads(path.read_text()) for path in sorted(kept)]
    said = " ".join((REPOSITORY / "docs" / "RESULTS.md").read_text(encoding="utf-8").split())
    r2 = sorted(f"{one['r2']['mat'][5]:.2f}" for one in found)
    cosines, recalls = (
        sorted(one["embeddings"][panel]["mat"]["5"][0] for one in found) for panel in (made["COSINE"], made["RECALL"])
    )
    assert f"`mat` explains {r2[0]} to {r2[1]} of the variance of single tokens, has a cosine of" in said
    assert f"has a cosine of {cosines[0]:.2f} to {cosines[1]:.2f} and keeps only four of the ten" in said
    assert 3.5 < 10 * recalls[0] < 10 * recalls[1] < 4.5
