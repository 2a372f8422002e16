"""`linear-shortcuts shorten`: tables on the screen, a checkpoint on disk, one line for what cannot be."""

import sys

import pytest
import tiny

from linear_shortcuts import __main__
from linear_shortcuts.commands import shorten_command
from linear_shortcuts.models.loading import load_model


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, repository):
    """Exit code, stdout and stderr of the command on a small text."""
    text = tmp_path / "text.txt"
    names = ("the list", "an array", "this module", "a string", "the file", "one process")
    paragraphs = [
        f"{name} returns {other} where {name} is given and {other} is not. " * 8 for name in names for other in names
    ]
    text.write_text("\n\n".join(paragraphs))
    monkeypatch.setattr(shorten_command, "SIZES", {"fit": 6, "choose": 2, "report": 3})
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model=repository / "models" / "tiny-gpt2"):
        words = ["linear-shortcuts", "shorten", model, *arguments, "--text", text, "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [*map(str, words)])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_shorter_checkpoint_is_written_and_described(run, tmp_path):
    code, out, _ = run("--blocks", "2", "--out", "shorter", "--start", "3")
    assert code == 0
    assert "without blocks 3 to 4 of its 6" in out
    assert "| this model | " in out
    assert load_model(tmp_path / "shorter", device="cpu").layers == 4
    assert "text.txt" in (tmp_path / "shorter" / "README.md").read_text()


def test_an_exit_is_written(run, tmp_path):
    assert run("--exit", "2", "--out", "exit")[0] == 0
    assert load_model(tmp_path / "exit", device="cpu").layers == 2


def test_without_a_folder_it_measures(run, tmp_path):
    code, out, _ = run("--blocks", "1", "--method", "matrix")
    assert code == 0
    assert "Cuts that were scored" in out
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "data"}  # partial work


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--blocks", "6"), "give 1 to 5"),
        (("--exit", "2", "--method", "drop"), "are of --blocks"),
        (("--blocks", "1", "--method", "patch", "--out", "a"), "can be measured, but not saved"),
        (("--blocks", "1", "--out", "."), "is there already"),
        (("--blocks", "1", "--out", "text.txt/below"), "text.txt is no folder that may be written to"),
        (("--blocks", "1", "--start", "6"), "start at 1 to 5"),
        (("--exit", "7"), "layer 7 is no exit of a model of 6 blocks"),
    ],
)
def test_what_cannot_be_ends_in_one_line(run, tmp_path, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert len([line for line in err.splitlines() if "error:" in line]) == 1
    assert not (tmp_path / "data").exists()  # nothing was computed


def test_an_encoder_is_written_and_has_no_cut(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shorten_command, "SENTENCES", {"fit": 60, "choose": 20, "report": 20})
    (tmp_path / "encoder").mkdir()
    tiny.architecture("bert").network.base_model.save_pretrained(tmp_path / "encoder")
    tiny.save_tokenizer(tmp_path / "encoder")
    code, out, err = run("--exit", "2", "--out", "short", model=tmp_path / "encoder")
    assert code == 0, err
    assert "The first 2 of the 3 blocks" in out
    assert (tmp_path / "short" / "2_Dense" / "model.safetensors").is_file()
    code, _, err = run("--blocks", "1", model=tmp_path / "encoder")
    assert code == 2
    assert "give --exit I" in err
