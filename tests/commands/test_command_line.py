"""The command line: every command is listed, and explains itself at once."""

import subprocess
import sys

import pytest

from linear_shortcuts.commands.command_line import COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_answers_before_anything_heavy_is_loaded(command, repository):
    words = [sys.executable, "-X", "importtime", "-m", "linear_shortcuts", command.name, "--help"]
    result = subprocess.run(words, cwd=repository, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert f"Example: linear-shortcuts {command.name} " in result.stdout
    loaded = {row.rpartition("|")[2].strip().partition(".")[0] for row in result.stderr.splitlines()}
    assert loaded.isdisjoint({"torch", "transformers", "yaml"})
