"""`linear-shortcuts fit`: no params.yaml, one line at the end, and one line where it cannot."""

import sys
from pathlib import Path

import pytest
import toy

from linear_shortcuts import LayerMaps, __main__, load_model
from linear_shortcuts.commands.fit_command import model_name
from linear_shortcuts.decoding import Shortcuts


def study_in(folder):
    """Two checkpoints and a text, without settings."""
    folder.mkdir()
    toy.make_study(folder)
    (folder / "params.yaml").unlink()
    return folder


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of the command."""
    monkeypatch.setattr(sys, "argv", ["linear-shortcuts", "fit", *map(str, arguments), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return ended.value.code, *capsys.readouterr()


def test_a_model_and_a_text_are_enough(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    code, out, _ = run(monkeypatch, capsys, "gpt2", "--text", "text.txt", "--train", 200, "--validation", 60)
    assert code == 0
    assert out.startswith("gpt2: 3 matrices from 2 layers, fitted on 200 tokens of text (")
    assert out.endswith("in linreg/gpt2/text/layers\n")
    assert len(LayerMaps.load("linreg/gpt2/text/layers")) == 3


def test_what_early_exit_needs_is_fitted_with_the_maps_where_it_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    options = ("--text", "text.txt", "--train", 200, "--validation", 60, "--exits", "even")
    code, out, _ = run(monkeypatch, capsys, "gpt2", *options)
    assert (code, out.splitlines()[-1]) == (0, "gpt2: what leaves the layers 1, in linreg/gpt2/text/shortcuts")
    assert sorted(path.name for path in Path("linreg/gpt2/text").iterdir()) == ["layers", "shortcuts"]
    assert Shortcuts.load("linreg/gpt2/text/shortcuts", load_model("gpt2", device="cpu")).exits == [1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exits", "2"], "exits name layer 2; gpt2 can be left at the layers 1..1"),
        (["--exits", "half"], "--exits is 'half'; give layers, such as 10,20, or even for three of them"),
        (["--train", 900], "text.txt has 400 distinct usable sentences"),
        (["--text", "nothere.txt"], "nothere.txt does not exist; give the path of your text file"),
        (["--out", "text.txt"], "text.txt is no folder that may be written to"),
        (["--train", 0], "--train is 0; give 1 or more"),
        (["--validation", 1], "--validation is 1; give 2 or more"),
    ],
)
def test_what_cannot_be_fitted_ends_with_2_and_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    capsys.readouterr()
    code, out, err = run(monkeypatch, capsys, "gpt2", "--text", "text.txt", *arguments)
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]  # the bar of what was read may stand before it
    assert line.startswith("linear-shortcuts: error: ")
    assert said in line


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("models/tiny-gpt2", "tiny-gpt2"),
        ("HuggingFaceTB/SmolLM2-135M", "SmolLM2-135M"),
        ("a/SmolLM2.Q4_1.gguf", "SmolLM2_Q4_1"),
        (".", "model"),
    ],
)
def test_a_model_has_a_name_that_is_a_folder(path, name):
    assert model_name(path) == name


@pytest.mark.parametrize("option", [["--articles"], ["--text-field", "body"]])
def test_what_says_how_a_text_is_read_needs_a_text(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "nowhere", *option)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith(f"is read; add --text FILE, or leave {option[0]} out")
