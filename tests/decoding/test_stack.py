"""The blocks run in part: against the model's own forward pass, for every causal architecture."""

import decoders
import pytest
import tiny
import torch

from linear_shortcuts.decoding.stack import Affine, cached, keep, new_cache

IDS = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def run(stack, cache, ids, past):
    calls = stack.prepare(ids, past)
    return stack.run(calls, calls.states, 0, stack.layers, cache)


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_chunks_and_single_tokens_give_the_models_own_logits_and_a_cache_cut_back_equals_one_never_extended(name):
    stack = decoders.stack(name)
    wanted = stack.network(input_ids=IDS, use_cache=False).logits
    cache = new_cache()
    found = []
    for first, last in ((0, 10), (10, 11), (11, 16)):
        run(stack, cache, torch.full((1, 3), 77), first)  # what is cut back leaves no trace
        keep(cache, first)
        found.append(stack.decode(run(stack, cache, IDS[:, first:last], first)))
    found += [stack.decode(run(stack, cache, IDS[:, place : place + 1], place)) for place in range(16, 24)]
    torch.testing.assert_close(torch.cat(found, dim=1), wanted, atol=2e-5, rtol=1e-4)
    assert cached(cache, 0) == cached(cache, stack.layers - 1) == 24
    assert wanted.std() > 0.1  # not alike merely because all are zero


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_embedded_tokens_are_what_the_first_block_is_given(name):
    stack = decoders.stack(name)
    assert torch.equal(stack.embed(IDS[:, 9:14], 9), stack.prepare(IDS[:, 9:14], 9).states)


def test_where_positions_are_added_the_embedding_is_not_all():
    assert decoders.stack("llama")._embeds_alone
    assert not decoders.stack("gpt2")._embeds_alone


@torch.inference_mode()
def test_states_enter_at_any_layer_while_the_first_blocks_have_more_tokens_than_the_last():
    stack = decoders.stack("llama")
    wanted = stack.network(input_ids=IDS, use_cache=False).logits
    cache = new_cache()
    calls = stack.prepare(IDS[:, :9], 0)
    stack.run(calls, calls.states, 0, stack.layers, cache)
    early = []
    for place in range(9, 14):  # block 1 alone, token by token
        calls = stack.prepare(IDS[:, place : place + 1], place)
        early.append(stack.run(calls, calls.states, 0, 1, cache))
    calls = stack.prepare(IDS[:, 9:14], 9)
    ends = stack.run(calls, torch.cat(early, dim=1), 1, stack.layers, cache)
    torch.testing.assert_close(stack.decode(ends), wanted[:, 9:14], atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_places_that_are_kept_move_together():
    cache = new_cache()
    keys = torch.arange(6.0).view(1, 1, 6, 1)
    cache.update(keys, -keys, 0)
    cache.update(keys[:, :, :4], -keys[:, :, :4], 1)
    keep(cache, 2, [0, 2, 3])
    assert cache.layers[0].keys.flatten().tolist() == [0, 1, 2, 4, 5]
    assert cache.layers[0].values.flatten().tolist() == [0, -1, -2, -4, -5]
    assert cached(cache, 1) == 4  # has fewer: left as it is
    keep(cache, 2, range_of_first := [0], range(1, 2))
    assert (cached(cache, 0), cached(cache, 1)) == (5, 2 + len(range_of_first))


def test_branches_need_positions_and_no_window_that_is_passed():
    assert decoders.stack("llama").branches(10**6)
    assert not decoders.stack("bloom").branches(1)
    mistral = decoders.stack("mistral")
    assert mistral.branches(8)
    assert not mistral.branches(9)


def test_the_blocks_are_as_before_once_they_stood_aside():
    stack = decoders.stack("gpt2")
    before = stack.network(input_ids=IDS).logits
    with pytest.raises(TypeError):
        stack.prepare("no ids", 0)
    assert all("forward" not in block.__dict__ for block in stack.blocks)
    torch.testing.assert_close(stack.network(input_ids=IDS).logits, before, atol=0, rtol=0)


def test_a_soft_cap_bounds_the_logits():
    stack = decoders.stack("gemma2")
    assert stack.cap == 2.0
    assert stack.decode(torch.randn(50, tiny.WIDTH) * 100).abs().max() <= 2.0


def test_an_affine_map_is_its_matrix_and_its_bias():
    weight, bias, states = torch.randn(3, 4), torch.randn(3), torch.randn(5, 4)
    torch.testing.assert_close(Affine(weight, bias)(states), states @ weight.T + bias)
    torch.testing.assert_close(Affine(weight)(states), states @ weight.T)
