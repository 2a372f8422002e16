"""Every study's dvc.yaml names what its stages use: DVC cannot see imports."""

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


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lists_its_script_the_rooms_of_the_library_and_the_modules_of_its_study(name):
    study, stage = STAGES[name]
    script, deps = Path(stage["cmd"].split()[1]), stage["deps"]
    assert script.as_posix() in deps
    used = imports.closure(imports.REPOSITORY / script)
    listed = {dep.rpartition("/")[2] for dep in deps if dep.startswith("linear_shortcuts/")}
    assert listed == imports.rooms(used) - set(SILENT)
    package = study / study.name
    own = {path for path in used if path.is_relative_to(package) and not is_silent(path)}
    own = {path.relative_to(imports.REPOSITORY).as_posix() for path in own}
    assert own - set(deps) == set()
    assert len(set(deps)) == len(deps)


@pytest.mark.parametrize("study", imports.STUDIES, ids=lambda path: path.name)
def test_every_script_is_a_stage(study):
    scripts = {stage["cmd"].split()[1] for other, stage in STAGES.values() if other == study}
    assert scripts == {path.relative_to(imports.REPOSITORY).as_posix() for path in study.glob("[0-9]*.py")}
