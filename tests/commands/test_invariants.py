"""The invariants hold of sound models, however deep, and fail where something is wrong."""

from dataclasses import replace
from unittest import mock

import pytest
import tiny
import torch

from linear_shortcuts.commands.invariants import INVARIANTS, check, line, notes, sample_tokens
from linear_shortcuts.models.loading import load_model


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
