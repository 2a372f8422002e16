"""`linear-shortcuts check`: a table, an exit code, and one line where a model cannot be checked."""

import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
import tiny
import torch

from linear_shortcuts import __main__
from linear_shortcuts.commands.invariants import HEAD, INVARIANTS, check, line, notes, sample_tokens
from linear_shortcuts.models import families
from linear_shortcuts.models.loading import load_model


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


def test_help_answers_before_anything_heavy_is_loaded(repository):
    command = [sys.executable, "-X", "importtime", "-m", "linear_shortcuts", "check", "--help"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert "Example: linear-shortcuts check models/tiny-gpt2" in result.stdout
    loaded = {row.rpartition("|")[2].strip().partition(".")[0] for row in result.stderr.splitlines()}
    assert loaded.isdisjoint({"torch", "transformers", "yaml"})


def test_a_checkpoint_in_double_precision_is_checked(checkpoint, monkeypatch, capsys):
    tiny.architecture("llama").network.double().save_pretrained(checkpoint)
    code, out, _ = run(monkeypatch, capsys, checkpoint, "--dtype", "auto")
    assert code == 0
    assert "parameters in float64" in out


def test_the_model_itself_is_run_without_a_cache():
    model = tiny.architecture("llama")
    with mock.patch.object(model.network, "forward", wraps=model.network.forward) as forward:
        list(check(model, sample_tokens(model)))
    assert forward.call_count
    assert all(call.kwargs["use_cache"] is False for call in forward.call_args_list)


DEEP = ["gpt2", "gpt_neox (Pythia)", "gptj", "bloom", "llama", "olmo2", "gemma2", "bert", "opt, post-norm (350m)"]


@pytest.mark.parametrize("name", DEEP)  # each order of a block
def test_a_stand_in_keeps_the_size_of_the_stream_however_deep_the_model(name):
    model = tiny.architecture(name, layers=100)
    with torch.no_grad():  # a stream that grows, as those of real models do
        for number, block in enumerate(model.blocks):
            for parameter in block.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(1 + number / 200)
    [stand_ins] = [invariant for invariant in INVARIANTS if invariant.name == "stand-ins"]
    with torch.inference_mode():
        difference = stand_ins.measure(model, sample_tokens(model).part(1, 3))
    assert 0 < difference < 1e-4


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


def test_what_later_blocks_read_besides_the_stream_is_said_and_so_are_weights_without_a_place():
    plain = tiny.architecture("llama")
    assert list(notes(plain, sample_tokens(plain))) == []
    shared = tiny.architecture("llama")
    embeddings = []
    shared.network.model.embed_tokens.register_forward_hook(lambda module, args, output: embeddings.append(output))
    shared.blocks[2].mlp.register_forward_hook(lambda module, args, output: output + embeddings[-1])
    [note] = notes(shared, sample_tokens(shared))
    assert note.startswith("blocks after layer 1 read more of the tokens than h_1")
    [note] = notes(replace(plain, unused=("score.bias",)), sample_tokens(plain))
    assert note == "1 weights of the checkpoint have no place in the model, such as score.bias"


def test_not_a_number_is_no_pass():
    model = tiny.architecture("llama")
    model.network.lm_head.weight.data[:] = float("nan")
    findings = {finding.invariant.name: finding for finding in check(model, sample_tokens(model))}
    assert not findings["decoding"].passed
    assert "FAILED" in line(findings["decoding"])


@pytest.mark.parametrize("name", ["stories260k", "names_gpt2"])
def test_real_weights_pass(name, shared_data):
    model = load_model(shared_data / name, device="cpu")
    for finding in check(model, sample_tokens(model)):
        assert finding.passed, finding
