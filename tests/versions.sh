#!/usr/bin/env bash
# Run the tests with the oldest, or the newest, versions that pyproject.toml allows, in an environment of their own.
#
#   tests/versions.sh oldest [PYTEST ARGUMENTS]
#   tests/versions.sh newest [PYTEST ARGUMENTS]
#
# TORCH=2.13.0 takes this torch instead of the oldest, where only some can be had. On Linux without a GPU set
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu, or torch brings gigabytes of CUDA. PYTHON names the
# interpreter (default: python3). Not part of CI: an environment takes minutes and gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:?usage: tests/versions.sh oldest|newest [PYTEST ARGUMENTS]}
shift
[ "$which" = oldest ] || [ "$which" = newest ] || { echo "versions.sh: $which is neither oldest nor newest" >&2; exit 2; }

environment=.venv-$which
constraints=$environment/constraints.txt
test -x "$environment/bin/python" || "${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" - "$which" "${TORCH:-}" > "$constraints" <<'PYTHON'
import pathlib, re, sys

which, torch = sys.argv[1:]
project = pathlib.Path("pyproject.toml").read_text(encoding="utf-8").partition("\n[tool.")[0]
# The tools that judge code, not run it, stay as they come.
for name, oldest in re.findall(r'"([\w.-]+)>=([\d.]+)', project.partition("dependencies = [")[2]):
    if name == "torch" and torch:
        print(f"torch=={torch}")
    elif which == "oldest" and name not in ("mypy", "pre-commit", "ruff"):
        print(f"{name}=={oldest}")
PYTHON
"$environment/bin/python" -m pip install --quiet --upgrade --prefer-binary --constraint "$constraints" \
    --editable ".[pipeline,large,studies]" pytest pytest-xdist hypothesis
"$environment/bin/python" -m pip list --format=freeze | grep -iE '^(numpy|torch|transformers|tokenizers|dvc|spacy)=='
PATH="$PWD/$environment/bin:$PATH" "$environment/bin/python" -m pytest "$@"
