"""`linear-shortcuts check`: a table, an exit code, and one line where a model cannot be checked."""

import sys
from dataclasses import replace
from unittest import mock

import pytest
import tiny

from linear_shortcuts import __main__
from linear_shortcuts.commands.invariants import HEAD, INVARIANTS
from linear_shortcuts.models import families


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of the command."""
    monkeypatch.setattr(sys, "argv", ["linear-shortcuts", "check", *map(str, arguments), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def checkpoint(tmp_path):
    tiny.architecture("llama").network.save_pretrained(tmp_path / "model")
    tiny.save_tokenizer(tmp_path / "model")
    return tmp_path / "model"


def test_a_sound_model_prints_every_invariant_and_ends_with_0(checkpoint, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, checkpoint)
    assert code == 0
    assert HEAD in out
    for invariant in INVARIANTS:
        [row] = [row for row in out.splitlines() if row.startswith(f"{invariant.name} ")]
        assert "passed" in row
        assert row.endswith(invariant.holds)
    assert "19,800 parameters in float32, 3 blocks of width 24, 97 token ids, 32 tokens" in out
    assert out.endswith("every invariant holds\n")


def test_a_wrongly_declared_model_ends_with_1(checkpoint, monkeypatch, capsys):
    right = families.FAMILIES["llama"]
    steps = (*right.steps[:2], replace(right.steps[2], adds=(1,)), *right.steps[3:])
    with mock.patch.dict(families.FAMILIES, {"llama": replace(right, steps=steps)}):
        code, out, _ = run(monkeypatch, capsys, checkpoint)
    assert code == 1
    assert "blocks      FAILED" in out
    assert "decoding    passed" in out
    assert "invariants do not hold" in out


def test_what_cannot_be_checked_ends_with_2_and_one_line(tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert err.startswith("linear-shortcuts: error: ")
    assert "nothing" in err
    assert err.count("\n") == 1


def test_a_key_of_the_registry_is_loaded_as_its_entry_says(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    code, out, _ = run(monkeypatch, capsys, "tiny-bert", "--dtype", "bfloat16")
    assert code == 0
    assert out.startswith("tiny-bert: bert, masked, 6 sub-steps a block; 1,751,680 parameters in bfloat16")
    assert "truncation  n/a" in out


def test_a_checkpoint_in_double_precision_is_checked(checkpoint, monkeypatch, capsys):
    tiny.architecture("llama").network.double().save_pretrained(checkpoint)
    code, out, _ = run(monkeypatch, capsys, checkpoint, "--dtype", "auto")
    assert code == 0
    assert "parameters in float64" in out


def test_a_missing_tokenizer_and_one_larger_than_the_embeddings_end_with_1(checkpoint, monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, checkpoint)
    assert "tokenizer   passed           96        96   the tokenizer is there" in out
    tiny.save_tokenizer(checkpoint, words=tiny.VOCABULARY + 3)
    code, out, _ = run(monkeypatch, capsys, checkpoint)
    assert code == 1
    assert "tokenizer   FAILED           99        96" in out
    for path in checkpoint.glob("tokenizer*"):
        path.unlink()
    code, out, _ = run(monkeypatch, capsys, checkpoint)
    assert code == 1
    assert "tokenizer   FAILED            —        96" in out
    assert out.count("\n\n") == 2
    assert "every invariant holds, but only tokens of your own can be used; " in out
