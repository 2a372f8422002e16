"""What `pip install linear-shortcuts` gives: every room, the command, and the lines that README and rooms show."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from linear_shortcuts.commands.command_line import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS, WIDTH = 6, 128  # of the shipped tiny-gpt2
# Everything that needs torch, in one process: the README's example, what each room's own words show, and `check`.
SHOWN = """
import importlib, pathlib, re, sys, textwrap
import torch
import linear_shortcuts
from linear_shortcuts import fit_maps, hidden_states, load_model, load_tokenizer
print(linear_shortcuts.__file__)
exec(sys.argv[1], {})
from linear_shortcuts.text import split_rows
texts = ["The shape of the returned array is the shape of the sum of the arrays. " * 5] * 2
h = torch.randn(5, 128)
model = load_model("models/tiny-gpt2", device="cpu")
rows = torch.randint(0, 4096, (16, 64))
tokenizer = load_tokenizer("models/tiny-gpt2")
articles = [f"{i} values. " + texts[0] for i in range(60)]
sizes = {"fit": 40, "choose": 4, "report": 8}
splits = split_rows(articles, tokenizer, sizes, length=32, masked=False, seed=0)
for room in sys.argv[2].split():
    words = importlib.import_module(room).__doc__
    code = textwrap.dedent("\\n".join(re.findall(r"^    .*", words, re.MULTILINE)))
    assert len(code.splitlines()) >= 2 or room.endswith("figures"), room
    exec(code, dict(globals()))
sys.argv[1:] = ["check", "models/tiny-gpt2"]
from linear_shortcuts.commands.command_line import main
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")  # setuptools leaves folders beside what it builds
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(
        REPOSITORY / "linear_shortcuts", source / "linear_shortcuts", ignore=shutil.ignore_patterns("__pycache__")
    )
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", source / "built", source)
    [built] = (source / "built").glob("linear_shortcuts-*.whl")
    return built


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PIP_NO_INDEX": "1"}, timeout=120)
    assert run.returncode == 0, run.stderr[-1000:]


def without_errors(lines):
    """A table of `check` without its differences, which are the machine's."""
    return [re.sub(r"\d\.\de-\d\d|0\.0e\+00", "…", line) for line in lines]


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "linear-shortcuts = linear_shortcuts.commands.command_line:main" in archive.read(entry).decode()
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
        page = email.message_from_bytes(archive.read(metadata)).get_payload()
    assert re.findall(r"^    linear-shortcuts (\w+)", page, re.MULTILINE) == [command.name for command in COMMANDS]
    links = re.findall(r"\]\(([^)]+)\)", page.replace("\n", " "))
    assert links
    assert all(link.startswith("https://") for link in links)
    library = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "linear_shortcuts").rglob("*.py")}
    assert names == library | {"linear_shortcuts/py.typed", "linear_shortcuts/peek/page.html"}


def test_installed_outside_the_repository_the_command_and_all_shown_lines_run(wheel, tmp_path):
    pip("install", "--no-deps", "--target", tmp_path / "installed", wheel)
    place = tmp_path / "somewhere"
    layers = place / "linreg" / "tiny-gpt2" / "docstrings" / "layers"
    layers.mkdir(parents=True)
    for source in range(LAYERS):  # in the place of what the pipeline fits
        for target in range(source + 1, LAYERS + 1):
            torch.save(torch.eye(WIDTH), layers / f"{source}_{target}.pickle")
    for name in ("models", "params.yaml"):
        (place / name).symlink_to(REPOSITORY / name)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "OMP_NUM_THREADS": "1"}

    def run(*command):
        return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)

    version = run(sys.executable, tmp_path / "installed" / "bin" / "linear-shortcuts", "--version")
    assert re.fullmatch(r"linear-shortcuts \d+\.\d+\.\d+\n", version.stdout), version.stderr
    example = re.search(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    rooms = sorted(path.parent.name for path in (REPOSITORY / "linear_shortcuts").glob("*/__init__.py"))
    names = " ".join(["linear_shortcuts", *(f"linear_shortcuts.{room}" for room in rooms)])
    shown = run(sys.executable, "-c", SHOWN, example, names)
    assert shown.returncode == 0, shown.stderr[-2000:]
    first, *lines = shown.stdout.splitlines()
    assert Path(first).is_relative_to(tmp_path)
    assert [line.split()[0] for line in lines[: LAYERS + 1]] == [str(layer) for layer in range(LAYERS + 1)]
    assert lines[-1] == "models/tiny-gpt2: every invariant holds"
    for page in ("docs/howto/your-model.md", "docs/MODELS.md"):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        table = re.search(r"\$ linear-shortcuts check models/tiny-gpt2\n(.*?)```", text, re.DOTALL)[1]
        shown_lines = table.splitlines()
        assert without_errors(shown_lines) == without_errors(lines[-len(shown_lines) :])  # rooms may print before
