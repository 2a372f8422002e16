"""`linear-shortcuts generate`: the three ways on the shipped model, one line at the end, refusals in one."""

import re
import sys

import pytest

from linear_shortcuts import __main__, load_model, load_tokenizer
from linear_shortcuts.commands.generate_command import FILLS, METHODS, Writer, summary
from linear_shortcuts.decoding import Generated, generate
from linear_shortcuts.decoding.filling import WAYS
from linear_shortcuts.decoding.generation import METHODS as KNOWN


@pytest.fixture(scope="module")
def checkpoint():
    from pathlib import Path

    return str(Path(__file__).parents[2] / "models" / "tiny-gpt2")


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of the command."""
    monkeypatch.setattr(sys, "argv", ["linear-shortcuts", "generate", *map(str, arguments), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return ended.value.code, *capsys.readouterr()


def test_shortcuts_are_fitted_once_and_every_method_continues_the_text(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = re.sub(r"\s+", " ", (sys.modules["argparse"].__doc__ or "") + " ".join(sys.modules["re"].__doc__.split()))
    (tmp_path / "text.txt").write_text(source * 6, encoding="utf-8")
    model, tokenizer = load_model(checkpoint, device="cpu"), load_tokenizer(checkpoint)
    [wanted] = generate(model, [tokenizer("The number of")["input_ids"]], new_tokens=8)
    ends = "\n8 tokens, "
    text = tokenizer.decode(wanted.ids)
    common = [checkpoint, "The number of", "--new-tokens", 8, "--shortcuts", "fitted"]
    code, out, _ = run(monkeypatch, capsys, *common, "--calibrate", "text.txt", "--exits", "2,4")
    assert code == 0
    assert out.rpartition(ends)[0] == text
    code, out, _ = run(monkeypatch, capsys, *common, "--method", "self-speculative", "--measure")
    assert out.rpartition(ends)[0] == text
    assert "a second, 6.0 of 6 blocks on average" in out
    code, out, _ = run(monkeypatch, capsys, *common, "--method", "early-exit", "--confidence", "-0.5", "--show-layers")
    assert code == 0
    assert out.count("[2]") == 7  # all but the first, which the whole model makes
    assert "2.5 of 6 blocks on average" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "early-exit"], "--method early-exit needs --shortcuts FOLDER"),
        (["--calibrate", "text.txt"], "add --shortcuts FOLDER"),
        (["--calibrate", "latin1.txt", "--shortcuts", "x"], "cannot read latin1.txt as text"),
        (["--calibrate", "latin1.txt", "--shortcuts", "latin1.txt/x"], "no folder that may be written to"),
        (["--calibrate", "none.txt", "--shortcuts", "x"], "cannot read none.txt as text"),
        (["--shortcuts", "nowhere", "--method", "early-exit"], "run linear-shortcuts generate --calibrate FILE first"),
        (["--lookup"], "--lookup is of --method self-speculative, and --method is full; leave --lookup out"),
        (["--measure", "--method", "early-exit"], "--measure is of --method self-speculative, and --method is early"),
        (["--confidence", "0"], "--confidence is of --method early-exit, and --method is full; leave --confidence out"),
        (["--fill", "copy", "--method", "self-speculative"], "--fill is of --method early-exit"),
        (["--exits", "2", "--shortcuts", "x"], "add --calibrate FILE, or leave --exits out"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_one_line(checkpoint, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1.txt").write_bytes("naïve".encode("latin1"))
    code, out, err = run(monkeypatch, capsys, checkpoint, "Return", *arguments)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_the_options_offer_what_there_is():
    assert (METHODS, FILLS) == (KNOWN, WAYS)


def test_characters_of_several_tokens_are_written_once_whole(capsys):
    class Bytes:
        def decode(self, ids, skip_special_tokens):
            return bytes(ids).decode("utf-8", errors="replace")

    writer = Writer(Bytes(), None)
    for byte in "a€b".encode():
        writer.write([byte], 3)
    assert capsys.readouterr().out == "a€b"


def test_the_last_line_counts_blocks_and_guesses():
    made = Generated([5, 6, 7], [4, 6, 6], drafted=8, held=1, steps=2, seconds=0.5)
    assert summary(made, 6) == "3 tokens, 6.0 a second, 5.3 of 6 blocks on average, 1 of 8 guesses held, 2 passes"
