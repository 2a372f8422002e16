"""The modules that make keys and values are found: against their names, and by giving back what they gave."""

import decoders
import pytest
import torch

from linear_shortcuts.decoding.projections import Projections, take_keys_and_values
from linear_shortcuts.decoding.stack import new_cache

IDS = torch.randint(5, 90, (1, 6), generator=torch.Generator().manual_seed(0))
NAMES = {
    "gpt2": {"c_attn"},
    "llama": {"k_proj", "v_proj"},
    "qwen3": {"k_proj", "v_proj"},
    "phi3": {"qkv_proj"},
    "bloom": {"query_key_value"},
    "gpt_neox (Pythia)": {"query_key_value"},
}


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_what_they_gave_makes_the_same_keys_and_values_from_other_states(name):
    stack = decoders.stack(name)
    projections = Projections(stack)
    block = stack.layers - 1
    calls = stack.prepare(IDS, 0)
    cache = new_cache()
    with projections.record(block) as gave:
        stack.run(calls, calls.states, 0, stack.layers, cache)
    again, other = new_cache(), torch.randn(calls.states.shape)
    with projections.give(block, torch.cat(gave, dim=-1)):
        take_keys_and_values(stack, calls, other, block, again)
    for kind in ("keys", "values"):
        wanted, found = (getattr(one.layers[block], kind) for one in (cache, again))
        torch.testing.assert_close(found, wanted)
    untouched = new_cache()
    take_keys_and_values(stack, calls, other, block, untouched)
    assert (untouched.layers[block].keys - cache.layers[block].keys).abs().max() > 1e-2
    assert sum(projections.sizes(block)) == sum(part.shape[-1] for part in gave)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_they_are_the_modules_whose_names_say_so(name):
    stack = decoders.stack(name)
    found = Projections(stack).found[0]
    names = {path.rpartition(".")[2] for path, module in stack.blocks[0].named_modules() if module in found}
    assert names == NAMES[name]
