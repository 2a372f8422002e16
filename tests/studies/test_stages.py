"""Every study is a DVC project whose dvc.yaml names what its stages use: DVC cannot see imports."""

import re
from pathlib import Path

import imports
import pytest
import yaml

from linear_shortcuts.files.sources import SILENT, is_silent

STAGES = {
    f"{study.name}: {name}": (study, stage)
    for study in imports.STUDIES
    for name, stage in yaml.safe_load((study / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
}


def script_of(stage: dict) -> Path:
    """The script, from the root, where every study's commands go."""
    return Path(re.fullmatch(r"cd \.\./\.\. && exec python (\S+\.py)( --[\w-]+( \$\{item\.\w+\})?)*", stage["cmd"])[1])


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lists_its_script_the_rooms_of_the_library_and_the_modules_of_its_study(name):
    study, stage = STAGES[name]
    script, deps = script_of(stage), stage["deps"]
    assert script == study.relative_to(imports.REPOSITORY) / script.name
    assert script.name in deps
    used = imports.closure(imports.REPOSITORY / script)
    listed = {dep.rpartition("/")[2] for dep in deps if dep.startswith("library/")}
    assert listed == imports.rooms(used) - set(SILENT)
    own = {path for path in used if path.is_relative_to(study / study.name) and not is_silent(path)}
    own = {path.relative_to(study).as_posix() for path in own}
    assert own - set(deps) == set()
    assert len(set(deps)) == len(deps)
    assert not [dep for dep in deps if "linear_shortcuts" in dep]  # there DVC would hash __pycache__, see below


@pytest.mark.parametrize("study", imports.STUDIES, ids=lambda path: path.name)
def test_every_script_is_a_stage(study):
    scripts = {script_of(stage) for other, stage in STAGES.values() if other == study}
    assert scripts == {path.relative_to(imports.REPOSITORY) for path in study.glob("[0-9]*.py")}


@pytest.mark.parametrize("study", imports.STUDIES, ids=lambda path: path.name)
def test_a_study_is_a_dvc_project_with_the_roots_cache_plots_and_manners(study):
    root = imports.REPOSITORY
    assert (study / "library").readlink().as_posix() == "../../linear_shortcuts"
    assert (study / ".dvc" / "plots").resolve() == root / ".dvc" / "plots"
    assert (study / ".dvcignore").read_bytes() == (root / ".dvcignore").read_bytes()
    own, roots = ((folder / ".dvc" / "config").read_text() for folder in (study, root))
    cache = "[cache]\n    dir = ../../../.dvc/cache\n"  # beside this file
    assert own == roots.replace("[plots]", cache + "[plots]")
