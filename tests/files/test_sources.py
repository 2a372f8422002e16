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


@pytest.mark.parametrize("edited", TREE)
def test_an_edit_of_what_the_script_runs_through_is_seen_and_no_other_edit_is(tmp_path, monkeypatch, edited):
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "json.py").write_text("a stranger beside the library, as in a folder of installed packages")
    monkeypatch.setattr(sources, "LIBRARY", tmp_path / "library")
    script = tmp_path / "study/script.py"
    before = sources.code_sha256(script)
    assert sources.code_sha256(script) == before
    with open(tmp_path / edited, "a") as file:
        file.write("\n# one more comment\n")
    assert (sources.code_sha256(script) != before) is (edited in USED)


def test_the_same_code_elsewhere_is_the_same_code(tmp_path, monkeypatch):
    found = set()
    for place in ("here", "there"):
        for name, text in TREE.items():
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_text(text)
        monkeypatch.setattr(sources, "LIBRARY", tmp_path / place / "library")
        found.add(sources.code_sha256(tmp_path / place / "study/script.py"))
    assert len(found) == 1
