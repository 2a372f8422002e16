"""The options that commands share: which model is meant, and from which seed."""

import argparse
import shutil

import pytest

from linear_shortcuts import InputError
from linear_shortcuts.commands.arguments import add_model, add_seed, asked_model


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_model(parser)
    add_seed(parser, "a draw")
    return parser.parse_args([*map(str, words)])


def test_a_key_of_the_registry_is_its_entry_and_anything_else_is_a_path(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert asked_model(parsed("tiny-gpt2")).path == "tiny-gpt2"
    shutil.copy(repository / "params.yaml", tmp_path)
    assert asked_model(parsed("tiny-gpt2")).path == "models/tiny-gpt2"
    assert asked_model(parsed("some/where", "--revision", "abc")).revision == "abc"


@pytest.mark.parametrize("content", ["lr: 0.1\n", "model:\n  registry: none\n", b"\xff\xfe", None])
def test_the_settings_of_another_project_are_none_of_ours(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "params.yaml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert asked_model(parsed("tiny-gpt2")).path == "tiny-gpt2"


def test_settings_that_were_asked_for_must_be_there(tmp_path):
    (tmp_path / "other.yaml").write_text("lr: 0.1\n")
    for name, said in (
        ("nothere.yaml", r"nothere\.yaml does not exist"),
        ("other.yaml", r"other\.yaml: unknown key lr"),
    ):
        with pytest.raises(InputError, match=said):
            asked_model(parsed("tiny-gpt2", "--params", tmp_path / name))


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "", str(2**63), "9" * 5000, "²"])
def test_a_seed_is_a_whole_number_that_a_generator_takes(seed, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("m", f"--seed={seed}")
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "argument --seed: " in line
    assert line.endswith("is no whole number from 0 to 9,223,372,036,854,775,807")
    assert parsed("m", "--seed", 2**63 - 1).seed == 2**63 - 1
