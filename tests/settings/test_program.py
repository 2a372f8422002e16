"""A script ends with code 2 and one line where the input is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed: 0", "sed: 0", "unknown key sed (did you mean 'seed'?)"),
        ("train: 9000", "train: many", "sentences.train is 'many'; it must be a whole number"),
        ("seed: 0", "seed: 2024-13-45", "bad.yaml"),
    ],
)
def test_a_stage_script_ends_with_code_2_and_one_line(tmp_path, old, new, expected):
    assert old in TEXT
    (tmp_path / "bad.yaml").write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    script = REPOSITORY / "stages" / "01_fetch_sentences.py"
    command = [sys.executable, str(script), "--params", "bad.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("01_fetch_sentences.py: error: bad.yaml")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]
