"""The one-way road, thin stages, quick help, and a dvc.yaml that names what its stages use."""

import ast
import importlib
import re
import subprocess
import sys
import types
from functools import cache
from pathlib import Path

import imports
import pytest
import yaml

from linear_shortcuts.files.sources import SILENT

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = sorted(imports.LIBRARY.rglob("*.py"))
STAGES = sorted((REPOSITORY / "stages").glob("*.py"))
DVC = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))

# The storeys: a room imports only those before it.
ROOMS = (
    "files",
    "settings",
    "text",
    "models",
    "states",
    "maps",
    "lenses",
    "scores",
    "figures",
    "peek",
    "decoding",
    "shorten",
    "training",
    "commands",
)
DOORS = {"__init__.py", "__main__.py", "_door.py"}  # outside every room
# Pure: values in, values out.
CORE = ("files/seeds.py", "models/cost.py", "maps/regression.py", "scores/measures.py", "scores/early_exit.py")
FILES = {"dvc", "json", "os", "pathlib", "pickle", "shutil", "tempfile", "yaml", "zipfile", "sys", "subprocess"}


def top(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    return {module for module, _ in imports.named(path)}


def texts_of(path: Path) -> list[str]:
    """Every string of a file, docstrings and parts of formatted ones included."""
    nodes = ast.walk(ast.parse(path.read_bytes()))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def by_name(path: Path) -> str:
    return path.stem


def by_room(path: Path) -> str:
    return str(path.relative_to(imports.LIBRARY))


def upward(path: Path, file: Path) -> bool:
    """Whether importing `file` from `path` climbs: into a later room, or out of the rooms."""
    [(own, *_), (other, *_)] = [p.relative_to(imports.LIBRARY).parts for p in (path, file)]
    return other in DOORS - {"__init__.py", "_door.py"} or (other in ROOMS and ROOMS.index(other) > ROOMS.index(own))


def test_imports_are_found_wherever_they_stand_and_behind_doors():
    """The positive control of everything below."""
    found = {str(path.relative_to(REPOSITORY)) for path in imports.own_imports(STAGES[2])}
    assert {"linear_shortcuts/files/artifacts.py", "linear_shortcuts/text/tokens.py"} <= found
    assert {"linear_shortcuts/models/loading.py", "linear_shortcuts/settings/program.py"} <= found
    assert len(STAGES) == 13
    assert len(LIBRARY) > 40


# --- the one-way road --------------------------------------------------------------------------------------


def test_every_room_is_on_the_list_and_nothing_lies_outside():
    inside = {path.relative_to(imports.LIBRARY).parts for path in LIBRARY}
    assert {parts[0] for parts in inside if len(parts) > 1} == set(ROOMS)
    assert {parts[0] for parts in inside if len(parts) == 1} == DOORS


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.name not in DOORS], ids=by_room)
def test_a_room_imports_only_those_before_it(path):
    assert [file for file in imports.own_imports(path) if upward(path, file)] == []


def test_an_invented_upward_import_is_seen(tmp_path):
    """The positive control: a name behind the door of a later room, inside a function."""
    path = tmp_path / "invented.py"
    path.write_text("def f():\n    from linear_shortcuts.scores import r2\n")
    [file] = imports.own_imports(path)
    assert by_room(file) == "scores/measures.py"
    assert upward(imports.LIBRARY / "files" / "artifacts.py", file)
    assert not upward(imports.LIBRARY / "figures" / "plots.py", file)
    for statement in (
        "import linear_shortcuts",
        "from linear_shortcuts import scores",
        "from linear_shortcuts.scores import *",
    ):
        path.write_text(statement)  # rooms imported whole, or all of them
        climbs = [file for file in imports.own_imports(path) if upward(imports.LIBRARY / "files" / "cards.py", file)]
        assert len(climbs) > 3


@pytest.mark.parametrize("path", LIBRARY, ids=by_room)
def test_the_library_never_imports_stages_or_studies(path):
    others = {study.name for study in imports.STUDIES} | {"stages", "studies", "tests", "benchmarks", "dvc"}
    assert top(imported(path)).isdisjoint(others)


# A script of stages/, by its path, its number or its name; whoever has the wheel alone has none of them.
NAMES_A_STAGE = re.compile(r"stages/|\b[Ss]tages? \d|\b\d\d_[a-z]{3}|linear-shortcuts (check|fit|shorten)\b")
BELOW = [path for path in LIBRARY if path.name not in DOORS and path.parent.name != "commands"]


@pytest.mark.parametrize("path", BELOW, ids=by_room)
def test_a_lower_room_names_no_stage_and_no_command(path):
    assert [text for text in texts_of(path) if NAMES_A_STAGE.search(text)] == []


def test_a_stage_that_is_named_is_seen(tmp_path):
    """The positive control: a docstring, a part of a message, and every script of the repository."""
    path = tmp_path / "invented.py"
    path.write_text(
        'def f(x):\n    """See stage 04."""\n    raise ValueError(f"{x} is absent; rerun stages 03 to 06")\n'
    )
    assert len([text for text in texts_of(path) if NAMES_A_STAGE.search(text)]) == 2
    for script in STAGES:
        assert NAMES_A_STAGE.search(script.stem)
        assert any(NAMES_A_STAGE.search(text) for text in texts_of(script))


@pytest.mark.parametrize("name", CORE)
def test_the_numerical_core_knows_no_file_and_no_setting(name):
    path = imports.LIBRARY / name
    own = {by_room(file) for file in imports.own_imports(path)}
    neither = {"files/errors.py", "settings/devices.py"}  # the one raises what users see, the other sets threads
    assert {file for file in own if file.startswith(("files/", "settings/"))} <= neither
    assert top(imported(path)).isdisjoint(FILES)
    names = {node.id for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Name)}
    assert names.isdisjoint({"open", "print"})


def test_the_library_has_no_circle_of_imports():
    graph = {path: imports.own_imports(path) for path in LIBRARY if path.name != "__init__.py"}
    done: set[Path] = set()
    while len(done) < len(graph):
        ready = {path for path, needs in graph.items() if path not in done and needs & set(graph) <= done}
        assert ready, f"a circle among {sorted(map(by_room, set(graph) - done))}"
        done |= ready


ALL_DOORS = [path for path in LIBRARY if path.name == "__init__.py"]


@pytest.mark.parametrize("door", ALL_DOORS, ids=by_room)
def test_a_door_hands_out_every_name_it_lists_and_shows_them(door):
    parts = door.parent.relative_to(REPOSITORY).parts
    room = importlib.import_module(".".join(parts))
    assert room.__all__
    for name in room.__all__:
        assert not isinstance(getattr(room, name), types.ModuleType), name
        assert name in dir(room)
    modules = {path.stem for path in door.parent.glob("*.py")}
    assert modules.isdisjoint(room.__all__)  # a name like its module's would hand out one or the other
    assert parts[-1] not in modules
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = room.no_such_name


# What files of the project import from a room's door, from outside.
USED: dict[str, set[str]] = {f"linear_shortcuts.{room}": set() for room in ROOMS}
for folder in ("linear_shortcuts", "stages", "studies", "benchmarks"):
    for file in (REPOSITORY / folder).rglob("*.py"):
        for module, name in imports.named(file):
            if name is not None and module in USED and file.parent.name != module.rpartition(".")[2]:
                USED[module].add(name)


@pytest.mark.parametrize("door", ALL_DOORS, ids=by_room)
def test_a_door_says_what_its_room_is_for_in_few_words(door):
    docstring = ast.get_docstring(ast.parse(door.read_bytes()))
    assert docstring
    assert len(docstring.splitlines()) <= 12


@pytest.mark.parametrize("door", [door for door in ALL_DOORS if door.parent != imports.LIBRARY], ids=by_room)
def test_a_room_hands_out_only_what_others_use_or_its_own_words_show(door):
    room = importlib.import_module(f"linear_shortcuts.{door.parent.name}")
    assert set(room.__all__) <= USED[room.__name__] | set(re.findall(r"\w+", room.__doc__))


def test_code_that_travels_with_a_checkpoint_needs_nothing_of_ours():
    """So a checkpoint of LambdaBERT opens whatever the library is called, and where there is none."""
    travelling = REPOSITORY / "studies/lambda_bert/lambda_bert"
    for name in ("configuration_lambdabert", "modeling_lambdabert"):
        own = imports.own_imports(travelling / f"{name}.py")
        assert own <= {travelling / "configuration_lambdabert.py"}
        assert top(imported(travelling / f"{name}.py")) & {"linear_shortcuts", "shortcuts"} == set()


# --- tests -------------------------------------------------------------------------------------------------

# The unpickler in three files: what a pickle may do is only seen where all of them read one.
TESTED_TOGETHER = {
    "files/pickle_machine.py": "files/test_unpickling.py",
    "files/torch_files.py": "files/test_unpickling.py",
    "shorten/model_cards.py": "shorten/test_checkpoints.py",
    "shorten/observation.py": "shorten/test_methods.py",
    "decoding/custom_generate.py": "decoding/test_packaging.py",  # which loads it as transformers does
}
OF_NO_MODULE = {"models/test_wild_models.py"}  # every architecture through all that loads and verifies a model


def test_tests_stand_where_the_code_stands():
    folder = Path(__file__).parents[1]
    wanted = {
        TESTED_TOGETHER.get(by_room(path), f"{path.parent.name}/test_{path.name}")
        for path in LIBRARY
        if path.name not in DOORS
    }
    assert {str(path.relative_to(folder)) for room in ROOMS for path in (folder / room).glob("test_*.py")} == (
        wanted | OF_NO_MODULE
    )


def test_the_page_on_rooms_is_short_names_them_all_and_what_it_names_is_there():
    page = (REPOSITORY / "docs" / "ROOMS.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 60
    drawn = re.search(r"```text\n(.*?)```", page, re.DOTALL)[1]
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(rows) == set(ROOMS)
    assert all(re.search(rf"^  (.* )?{room} ", drawn, re.MULTILINE) for room in ROOMS)
    named = [path for path in re.findall(r"`([\w/]+/\w+\.py)`", page) if "/x.py" not in path and "_x.py" not in path]
    assert len(named) > 10
    for path in named:
        assert re.search("NN_|NAME_", path) or (REPOSITORY / path).exists() or (imports.LIBRARY / path).exists(), path


# --- stages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_a_stage_imports_only_the_library_and_progress_bars(path):
    others = top(imported(path)) - sys.stdlib_module_names
    assert others <= {"linear_shortcuts", "tqdm"}


def calls_that_could_say(path: Path) -> list[ast.Call]:
    """The calls of a file to what takes `made_by`, the program that an error of the library then names."""
    functions = {
        node.name
        for own in LIBRARY
        for node in ast.walk(ast.parse(own.read_bytes()))
        if isinstance(node, ast.FunctionDef) and "made_by" in {argument.arg for argument in node.args.kwonlyargs}
    }
    calls = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)]
    named = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] in functions]
    return [call for call in named if ast.unparse(call.func) != "partial.load"]  # of this very stage


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_a_stage_says_which_stages_make_what_it_reads(path):
    calls = calls_that_could_say(path)
    assert [ast.unparse(call) for call in calls if "made_by" not in {word.arg for word in call.keywords}] == []
    assert calls or by_name(path)[:2] in {"01", "02"}  # these read what no stage makes


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_a_stage_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 65


@cache
def help_of(path: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "importtime", str(path), "--help"]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_help_says_what_is_read_and_written_with_an_example(path):
    run = help_of(path)
    assert run.returncode == 0, run.stderr[-500:]
    docstring = ast.get_docstring(ast.parse(path.read_bytes()), clean=False)
    assert docstring in run.stdout  # word for word, its lines not run together
    for heading in ("Reads ", "Writes ", "Example: "):
        assert re.search(rf"^{heading}", run.stdout, re.MULTILINE), heading
    example = re.search(r"^Example: (.*)$", run.stdout, re.MULTILINE)[1]
    assert example.startswith(f"python stages/{path.name}")
    for option in re.findall(r"--\w+", example):
        assert f"  {option}" in run.stdout


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_help_answers_before_anything_heavy_is_loaded(path):
    loaded = {line.rpartition("|")[2].strip() for line in help_of(path).stderr.splitlines()}
    assert "argparse" in loaded  # the positive control: the list is one of modules
    assert top(loaded).isdisjoint({"torch", "numpy", "transformers", "datasets", "spacy", "matplotlib", "yaml", "tqdm"})


def test_a_wrong_option_ends_with_code_2(tmp_path):
    command = [sys.executable, str(STAGES[2]), "--modle", "tiny-gpt2"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


# --- dvc.yaml ----------------------------------------------------------------------------------------------


def script_of(stage: str) -> Path:
    return REPOSITORY / DVC[stage]["cmd"].split()[1]


def items(stage: str) -> list[dict[str, str]]:
    """The values that `${item...}` takes: one mapping for each combination of the stage's matrix."""
    lists = {"${models}": PARAMS["models"], "${transfer.corpora}": PARAMS["transfer"]["corpora"]}
    combinations: list[dict[str, str]] = [{}]
    for axis, values in DVC[stage].get("matrix", {}).items():
        values = lists[values] if isinstance(values, str) else values
        combinations = [{**combination, axis: value} for combination in combinations for value in values]
    return combinations


def filled(text: str, item: dict[str, str]) -> str:
    text = text.replace("${corpus}", PARAMS["corpus"])
    for axis, value in item.items():
        text = text.replace(f"${{item.{axis}}}", value)
    assert "${" not in text, text
    return text


def paths(entries: list) -> list[str]:
    """Outs and plots are listed as a path or as a mapping of one path to its settings."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_every_script_is_one_stage():
    assert sorted(script_of(stage) for stage in DVC) == STAGES


@pytest.mark.parametrize("stage", DVC)
def test_a_stage_lists_its_script_and_exactly_the_rooms_that_its_code_runs_through(stage):
    script, deps = script_of(stage), DVC[stage]["deps"]
    assert f"stages/{script.name}" in deps
    listed = {dep.partition("/")[2] for dep in deps if dep.startswith("linear_shortcuts/")}
    assert listed == imports.rooms(imports.closure(script)) - set(SILENT)


@pytest.mark.parametrize("stage", DVC)
def test_what_a_stage_depends_on_is_there_or_made_by_another_stage(stage):
    made = {
        filled(path, item)
        for other in DVC
        for item in items(other)
        for kind in ("outs", "plots", "metrics")
        for path in paths(DVC[other].get(kind, []))
    }
    for item in items(stage):
        for dep in DVC[stage]["deps"]:
            path = filled(dep, item)
            assert path in made or (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("stage", DVC)
def test_deps_and_params_stand_once(stage):
    for kind in ("deps", "params"):
        assert len(set(DVC[stage][kind])) == len(DVC[stage][kind])


@pytest.mark.parametrize("stage", DVC)
def test_the_settings_a_stage_lists_exist(stage):
    for item in items(stage):
        for key in DVC[stage]["params"]:
            value = PARAMS
            for part in filled(key, item).split("."):
                assert part in value, key
                value = value[part]


# How a stage reads a setting, and the keys of which one must be listed, as a part of it or as a whole.
READS = {
    "chosen_corpus": ("corpora.${corpus}",),
    "model": ("registry.${item.model}",),
    "of_corpus": ("corpus",),
    "training": ("training.${item.model}",),
}
# It bounds memory and changes no result: the machine's business, so a change of it reruns nothing.
CHANGES_NOTHING = {"fit.memory_gib"}


@pytest.mark.parametrize("stage", DVC)
def test_a_stage_lists_the_settings_it_reads(stage):
    tree = ast.parse(script_of(stage).read_bytes())
    tree.body = [node for node in tree.body if not isinstance(node, ast.Expr)]
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        # A bare `params.model(...)` refuses an unknown name and reads nothing of the entry.
        function.body = [node for node in function.body if ast.unparse(node) != "params.model(args.model)"]
    read = {
        ast.unparse(node).removeprefix("params.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("params.")
    }
    listed = DVC[stage]["params"]
    whole = {name for name in read if not any(other.startswith(f"{name}.") for other in read)}
    for name in sorted(whole - CHANGES_NOTHING):
        first = name.partition(".")[0]
        wanted = READS.get(first, (name,))
        covered = any(
            key == want or want.startswith(f"{key}.") or key.startswith(f"{want}.") for key in listed for want in wanted
        )
        assert covered, f"params.{name} is read but not listed"


@pytest.mark.parametrize("stage", DVC)
def test_a_listed_setting_is_read(stage):
    source = script_of(stage).read_text(encoding="utf-8")
    for key in DVC[stage]["params"]:
        first, _, rest = key.partition(".")
        spelled = {"corpora": "chosen_corpus", "registry": "params.model(", "training": "params.training"}
        assert spelled.get(first, f"params.{first}") in source, key
        if rest and first not in spelled and f"vars(params.{first})" not in source:
            assert f"params.{key}" in source, key


@pytest.mark.parametrize("stage", DVC)
def test_a_command_is_one_portable_line(stage):
    command = DVC[stage]["cmd"]
    assert re.fullmatch(r"python stages/\d\d_\w+\.py( --\w+ \$\{item\.\w+\})*", command)
    assert DVC[stage]["desc"]


LIGHT_OF_TRANSFORMERS = """
import sys
from linear_shortcuts.files import cards, partial, ranks
from linear_shortcuts.maps import fitting, linear_maps, regression
from linear_shortcuts.models import cost, language_model, loading
from linear_shortcuts.scores import early_exit, exits, tables
from linear_shortcuts.states import extraction, shards, provenance
from linear_shortcuts.text import tokens
print("torch" in sys.modules, "transformers" in sys.modules)
"""


def test_only_what_loads_a_model_or_a_tokenizer_imports_transformers():
    """Its import takes longer than torch's, and stages 05, 07, 09 and 10 read neither."""
    command = [sys.executable, "-c", LIGHT_OF_TRANSFORMERS]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["True", "False"], run.stderr[-500:]
