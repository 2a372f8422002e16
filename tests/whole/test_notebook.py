"""The tour: a notebook as Jupyter reads it, whose cells run and print what they show."""

import json

import notebook_cells
import pytest


def texts(notebook):
    """What the cells print and the last lines' values, as text."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]


def test_what_the_tour_shows_is_what_runs(monkeypatch):
    monkeypatch.chdir(notebook_cells.REPOSITORY)
    shown = json.loads(notebook_cells.TOUR.read_text(encoding="utf-8"))
    today = notebook_cells.as_it_runs(shown)
    assert texts(today) == texts(shown)
    assert (
        sum("text/html" in output.get("data", {}) for cell in today["cells"] for output in cell.get("outputs", [])) == 1
    )


def test_the_tour_is_a_notebook():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbformat.validate(nbformat.read(notebook_cells.TOUR, as_version=4))
