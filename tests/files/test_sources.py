"""The code that partial work rests on: an edit of it starts anew, and no other edit does."""

import pytest

from linear_shortcuts.files import sources

# The code of a unit of work: a script with a package beside it, and a library in which `maps` builds on `files`.
TREE = {
    "study/script.py": "from toy import fitting\nfrom toy.settings import N\ndef main():\n    from library import fit",
    "study/toy/__init__.py": "",
    "study/toy/fitting.py": "from . import losses\nfrom toy.losses import loss",
    "study/toy/losses.py": "loss = 1",
    "study/toy/settings.py": "N = 3",
    "study/toy/figures.py": "from toy.losses import loss",
    "library/__init__.py": "if True:\n    from library.maps import fit as fit\n    from library.plots.all import draw",
    "library/maps/__init__.py": "if TYPE_CHECKING:\n    from library.maps.fitting import fit as fit",
    "library/maps/fitting.py": "from library.files.errors import Error\nfrom library.settings import read\nimport json",
    "library/maps/reading.py": "",
    "library/plots/all.py": "from library.maps import fit",
    "library/files/errors.py": "",
    "library/settings/__init__.py": "def read(): pass",
}


USED = ["study/script.py", "study/toy/fitting.py", "study/toy/losses.py", "library/maps/fitting.py"]


def plant(folder, monkeypatch):
    for name, text in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(sources, "LIBRARY", folder / "library")


@pytest.mark.parametrize("edited", TREE)
def test_an_edit_of_what_the_script_runs_through_is_seen_and_no_other_edit_is(tmp_path, monkeypatch, edited):
    plant(tmp_path, monkeypatch)
    (tmp_path / "json.py").write_text("a stranger beside the library, as in a folder of installed packages")
    script = tmp_path / "study/script.py"
    before = sources.code_sha256(script)
    assert sources.code_sha256(script) == before
    with open(tmp_path / edited, "a") as file:
        file.write("\n# one more comment\n")
    assert (sources.code_sha256(script) != before) is (edited in USED)


def test_the_same_code_elsewhere_is_the_same_code(tmp_path, monkeypatch):
    found = set()
    for place in ("here", "there"):
        plant(tmp_path / place, monkeypatch)
        found.add(sources.code_sha256(tmp_path / place / "study/script.py"))
    assert len(found) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "from library import fit",
        "from library.maps import fit",
        "from library.maps import *",
        "from library import maps",
        "import library",
        "import library.maps as m",
        "import library.maps.fitting",
        "def f():\n    from library import maps",
    ],
)
def test_however_code_is_imported_it_is_found(tmp_path, monkeypatch, statement):
    plant(tmp_path, monkeypatch)
    script = tmp_path / "study/other.py"
    script.write_text(statement)
    found = sources.closure(script)
    assert tmp_path / "library/maps/fitting.py" in found
    assert (tmp_path / "library/plots/all.py" in found) is (statement == "import library")


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("toy/sums.py", "from . import losses"),
        ("toy/sums.py", "from .losses import loss"),
        ("toy/deep/sums.py", "from .. import losses"),
        ("toy/deep/sums.py", "from ..losses import loss"),
    ],
)
def test_neighbours_are_found_by_their_relative_names(tmp_path, place, statement):
    for name in ("toy/__init__.py", "toy/losses.py", "toy/deep/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / place).write_text(statement)
    assert sources.own_imports(tmp_path / place) == {tmp_path / "toy/losses.py"}
