"""The one-way road, thin stages, quick help, and a dvc.yaml that names what its stages use."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = sorted((REPOSITORY / "shortcuts").glob("*.py"))
STAGES = sorted((REPOSITORY / "stages").glob("*.py"))
DVC = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))

CORE = ("cost", "regression", "scores", "seeds", "sweep")  # pure: values in, values out
EDGE = {
    f"shortcuts.{name}"
    for name in ("artifacts", "cards", "corpora", "docstrings", "params", "plots", "resume", "stage")
}
FILES = {"dvc", "json", "os", "pathlib", "pickle", "shutil", "tempfile", "yaml", "zipfile", "sys", "subprocess"}
LIGHT = {"errors", "params", "ranks", "stage"}  # an edit there seldom changes a result


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions: `from shortcuts import maps` gives `shortcuts.maps`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            own = {module for module in modules if is_own(module)}
            found |= own or {node.module}
    return found


def is_own(module: str) -> bool:
    return (REPOSITORY / (module.replace(".", "/") + ".py")).is_file()


def top(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def by_name(path: Path) -> str:
    return path.stem


def test_imports_are_found_wherever_they_stand():
    """The positive control of everything below."""
    assert {"shortcuts.artifacts", "shortcuts.tokens", "shortcuts.models", "shortcuts.stage"} <= imported(STAGES[2])
    assert len(STAGES) == 10
    assert len(LIBRARY) > 20
    assert set(CORE) <= {path.stem for path in LIBRARY}


# --- the one-way road --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LIBRARY, ids=by_name)
def test_the_library_never_imports_stages_or_studies(path):
    assert top(imported(path)).isdisjoint({"stages", "studies", "tests", "benchmarks", "dvc"})


@pytest.mark.parametrize("name", CORE)
def test_the_numerical_core_knows_no_file_and_no_setting(name):
    modules = imported(REPOSITORY / "shortcuts" / f"{name}.py")
    assert modules.isdisjoint(EDGE)
    assert top(modules).isdisjoint(FILES)
    names = {node.id for node in ast.walk(ast.parse(open_text(name))) if isinstance(node, ast.Name)}
    assert names.isdisjoint({"open", "print"})


def open_text(name: str) -> str:
    return (REPOSITORY / "shortcuts" / f"{name}.py").read_text(encoding="utf-8")


def test_the_library_has_no_circle_of_imports():
    graph = {f"shortcuts.{path.stem}": top_level_imports(path) for path in LIBRARY if path.stem != "__init__"}
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {module for module, needs in graph.items() if module not in done and needs & set(graph) <= done}
        assert ready, f"a circle among {sorted(set(graph) - done)}"
        done |= ready


def top_level_imports(path: Path) -> set[str]:
    """What is imported when the module is: not inside functions, not for type checkers only."""
    body = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    found = set()
    for node in body:
        names = {alias.name for alias in node.names}
        found |= names if isinstance(node, ast.Import) else {node.module, *(f"{node.module}.{name}" for name in names)}
    return found


# --- stages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_a_stage_imports_only_the_library_and_progress_bars(path):
    others = top(imported(path)) - sys.stdlib_module_names
    assert others <= {"shortcuts", "tqdm"}


@pytest.mark.parametrize("path", STAGES, ids=by_name)
def test_a_stage_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 70


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
    combinations: list[dict[str, str]] = [{}]
    for axis, values in DVC[stage].get("matrix", {}).items():
        values = PARAMS["models"] if values == "${models}" else values
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
def test_a_stage_lists_its_script_and_every_module_it_imports(stage):
    script, deps = script_of(stage), set(DVC[stage]["deps"])
    assert f"stages/{script.name}" in deps
    own = {module.partition(".")[2] for module in imported(script) if module.startswith("shortcuts.")} - LIGHT
    assert {f"shortcuts/{name}.py" for name in own} - deps == set()


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


def test_only_what_loads_a_model_or_a_tokenizer_imports_transformers():
    """Its import takes longer than torch's, and stages 05, 07, 09 and 10 read neither."""
    used = "cards, cost, exits, fitting, hidden, maps, models, ranks, regression, resume, scores, sweep, tables, tokens"
    code = f"import sys; from shortcuts import {used}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["True", "False"], run.stderr[-500:]
