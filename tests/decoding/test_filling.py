"""Four ways to fill: what each is exact for, on models made for it."""

import itertools

import decoders
import pytest
import tiny
import torch

from linear_shortcuts.decoding.choice import greedy
from linear_shortcuts.decoding.early_exit import early_exit
from linear_shortcuts.decoding.filling import WAYS, Waiting
from linear_shortcuts.decoding.projections import Projections
from linear_shortcuts.decoding.shortcuts import stack_of
from linear_shortcuts.decoding.stack import Affine, new_cache
from linear_shortcuts.maps import fit
from linear_shortcuts.models.language_model import LanguageModel
from linear_shortcuts.states.extraction import SequenceRecorder

NUMBER = 14


def alternating(t):
    """A margin that nobody reaches, and one that anybody does, in turn: so late tokens need what early ones lack."""
    return 2.0 if t % 3 == 2 else -1.0


def decode(stack, way, guesses=None, exits=(1, 2)):
    cache = new_cache()
    waiting = Waiting(stack, cache, way, guesses, Projections(stack) if way == "kv_map" else None)
    maps = dict.fromkeys(exits, Affine(torch.eye(stack.network.config.get_text_config().hidden_size)))
    steps = itertools.islice(early_exit(stack, decoders.PROMPT, greedy, maps, alternating, waiting), NUMBER)
    return [(step.tokens[0], step.layers[0]) for step in steps], cache


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_recompute_gives_what_the_full_model_gives_at_the_same_exits(name):
    model = tiny.architecture(name)
    made, _ = decode(stack_of(model), "recompute")
    recorder = SequenceRecorder()
    with model.watch(recorder):
        model.encode(torch.tensor([decoders.PROMPT + [token for token, _ in made]]), None)
    for place, (token, layer) in enumerate(made, len(decoders.PROMPT) - 1):
        assert int(model.decode(recorder.states[layer][0, place]).argmax()) == token
    assert {layer for _, layer in made} == {1, model.layers}


class _Identity(torch.nn.Module):
    def forward(self, states, *others, **options):
        return states


def without_sums(model: LanguageModel) -> LanguageModel:
    """The model with blocks that leave the states as they are; what attention and feed-forward add is nothing."""
    for block in model.blocks:
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    return model


@torch.inference_mode()
def test_copy_is_exact_where_blocks_are_the_identity():
    stack = stack_of(without_sums(tiny.architecture("llama")))
    found, cache = decode(stack, "copy")
    wanted, exact = decode(stack, "recompute")
    assert found == wanted
    for one, other in zip(cache.layers, exact.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys)


def linear_blocks(norms: bool) -> LanguageModel:
    """A llama whose blocks are linear: attention adds nothing, the feed-forward network is one matrix, without a norm.

    norms: whether the norm before attention, through which keys and values are made, is linear too.
    """
    model = tiny.architecture("llama")
    torch.manual_seed(1)
    for block in model.blocks:
        block.self_attn.o_proj.weight.zero_()
        block.post_attention_layernorm = _Identity()
        block.mlp = torch.nn.Linear(model.width, model.width, bias=False)
        if norms:
            block.input_layernorm = _Identity()
    model.network.eval().requires_grad_(False)
    return model


@pytest.mark.parametrize("way", ["map", "kv_map"])
@torch.inference_mode()
def test_fitted_maps_are_exact_where_what_they_fit_is_linear(way):
    model = linear_blocks(norms=way == "kv_map")
    stack = stack_of(model)
    projections = Projections(stack)
    rows = torch.randint(5, 90, (12, 20), generator=torch.Generator().manual_seed(2))
    recorder = SequenceRecorder()
    guesses = {}
    with model.watch(recorder), projections.record(0) as _0, projections.record(1) as _1, projections.record(2) as _2:
        model.encode(rows, None)
    states = [value.flatten(0, 1) for value in recorder.states]
    made = [torch.cat(parts, dim=-1).flatten(0, 1) for parts in (_0, _1, _2)]
    for source in (1, 2):
        for block in range(source, 3):
            target = made[block] if way == "kv_map" else states[block]
            guesses[source, block] = Affine(fit(states[source], target).matrices[0].float())
    found, cache = decode(stack, way, guesses)
    wanted, exact = decode(stack, "recompute")
    assert found == wanted
    for one, other in zip(cache.layers, exact.layers, strict=True):
        assert one.keys.shape == other.keys.shape
        torch.testing.assert_close(one.keys, other.keys, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(one.values, other.values, atol=1e-3, rtol=1e-3)
    copied = decode(stack, "copy")[1].layers[2].keys
    assert (copied - exact.layers[2].keys).abs().max() > 0.1  # the positive control: a copy is not exact here


@torch.inference_mode()
def test_what_every_block_knows_is_forgotten():
    stack = decoders.stack("llama")
    for way in WAYS[::3]:
        waiting = Waiting(stack, new_cache(), way)
        maps = {1: Affine(torch.eye(tiny.WIDTH))}
        steps = early_exit(stack, decoders.PROMPT, greedy, maps, alternating, waiting)
        sizes = [len(waiting.left) for _ in itertools.islice(steps, NUMBER)]
        assert max(sizes) == 2
        assert 0 in sizes[3:]
