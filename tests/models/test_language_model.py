"""A language model seen through its family: states, decoding, blocks, stand-ins, watching."""

import pytest
import tiny
import torch

from linear_shortcuts.models.families import stand_in_steps
from linear_shortcuts.states.extraction import SequenceRecorder, batches


@pytest.fixture(params=tiny.FAMILIES)
def model(request):
    return tiny.model(request.param)


def run(model, ids):
    """States of all layers and attention calls of one unpadded sentence."""
    recorder = SequenceRecorder()
    with torch.inference_mode(), model.watch(recorder):
        model.encode(ids[None], None)
    return recorder


def test_decoding_the_last_layer_gives_the_models_own_logits(model):
    ids = torch.arange(5, 25)
    with torch.inference_mode():
        logits = model.network(input_ids=ids[None]).logits
        decoded = model.decode(run(model, ids).states[-1])
        torch.testing.assert_close(decoded, logits, atol=1e-5, rtol=1e-5)
        if model.family.final_norm:  # positive control: the norm applied twice must show
            norm = model.network.get_submodule(model.family.final_norm)
            twice = model.decode(norm(run(model, ids).states[-1]))
            assert (twice - logits).abs().max() > 1e-3


def test_states_are_the_librarys_hidden_states_before_the_final_norm(model):
    ids = torch.arange(5, 25)
    with torch.inference_mode():
        theirs = model.network(input_ids=ids[None], output_hidden_states=True).hidden_states
    ours = run(model, ids).states
    assert len(ours) == len(theirs) == model.layers + 1
    for own, their in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(own, their, atol=1e-6, rtol=1e-6)
    same_at_the_end = torch.allclose(ours[-1], theirs[-1], atol=1e-6)
    assert same_at_the_end == (model.family.final_norm is None)


def test_a_block_rebuilt_from_its_sub_steps_is_the_genuine_block(model):
    tokens = tiny.tokens(model, 9)
    for batch in batches(tokens, model, 100):
        recorder = SequenceRecorder()
        with torch.inference_mode(), model.watch(recorder):
            model.encode(batch.ids, batch.mask)
            for block in range(model.layers):
                attend = model.attention(block, recorder.calls[block])
                sites = model.sites(block, recorder.states[block], attend)
                assert len(sites) == 7
                torch.testing.assert_close(sites[-1], recorder.states[block + 1], atol=1e-5, rtol=1e-5)


def test_the_exact_matrix_of_a_linear_sub_step_stands_in_for_it_exactly():
    model = tiny.linear_model("gpt2")
    recorder = run(model, torch.arange(5, 25))
    attend = model.attention(1, recorder.calls[1])
    for part in ("attention", "feed_forward"):
        [step] = stand_in_steps(model.family, part)
        block = model.blocks[1]
        matrix = (block.attn if part == "attention" else block.mlp).dense.weight
        replaced = model.sites(1, recorder.states[1], attend, {step: matrix})[-1]
        torch.testing.assert_close(replaced, recorder.states[2], atol=1e-5, rtol=1e-5)
        spoilt = model.sites(1, recorder.states[1], attend, {step: matrix.T})[-1]
        assert (spoilt - recorder.states[2]).abs().max() > 1e-2


def test_watching_leaves_no_hooks_behind_even_after_an_error(model):
    with pytest.raises(ZeroDivisionError), model.watch(SequenceRecorder()):
        raise ZeroDivisionError
    for module in model.network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
