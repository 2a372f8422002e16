"""A shorter model is what deleting blocks by hand gives, in every family, and leaves the original as it was."""

import copy

import pytest
import tiny
import torch
from torch import nn

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.shorten.surgery import Cut, add_product, down_projection, fold, without

FOLDS = [name for name in tiny.ARCHITECTURES if tiny.architecture(name).family.down]
CAUSAL = [name for name in FOLDS if tiny.architecture(name).family.causal]


def test_the_families_into_which_nothing_folds_are_those_with_a_norm_behind():
    assert set(tiny.ARCHITECTURES) - set(FOLDS) == {
        "opt, post-norm (350m)", "olmo2", "olmo3", "gemma2", "gemma3", "gemma3 with images",
        "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra",
    }  # fmt: skip
    with pytest.raises(InputError, match="a norm stands between .* drop"):
        down_projection(tiny.architecture("gemma2"), 0)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_without_a_block_is_the_model_with_its_block_made_to_pass_on_what_it_gets(name):
    """The oracle keeps the block and throws away what it does: no list of blocks is touched."""
    model = tiny.architecture(name)
    ids = torch.arange(7, 27, 2)[None]
    before = copy.deepcopy(model.network.state_dict())
    with torch.inference_mode():
        whole = model.network(input_ids=ids).logits
        shorter = without(model, Cut(1, 2)).network(input_ids=ids).logits
        handle = model.blocks[1].register_forward_hook(_input_instead, with_kwargs=True)
        oracle = model.network(input_ids=ids).logits
        handle.remove()
        again = model.network(input_ids=ids).logits
    torch.testing.assert_close(shorter, oracle, rtol=1e-5, atol=1e-5)
    assert (shorter - whole).abs().max() > 1e-3
    assert torch.equal(again, whole)
    assert model.layers == tiny.LAYERS or name == "gemma3 with images"
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())


def _input_instead(module, args, kwargs, output):
    states = args[0] if args else kwargs["hidden_states"]
    return (states, *output[1:]) if isinstance(output, tuple) else states


def test_lists_of_one_entry_a_block_are_cut_along():
    neo = without(tiny.architecture("gpt_neo"), Cut(0, 1)).network.config
    assert neo.attention_layers == ["local", "local"]
    assert type(neo).from_dict(neo.to_dict()).attention_layers == ["local", "local"]
    rope = tiny.architecture("smollm3").network.config.no_rope_layers
    assert without(tiny.architecture("smollm3"), Cut(0, 1)).network.config.no_rope_layers == rope[1:]
    kinds = tiny.architecture("olmo3").network.config.layer_types
    assert without(tiny.architecture("olmo3"), Cut(1, 2)).network.config.layer_types == [kinds[0], *kinds[2:]]


@pytest.mark.parametrize("name", FOLDS)
def test_a_folded_matrix_multiplies_what_the_down_projection_gives(name):
    model = tiny.architecture(name)
    torch.manual_seed(0)
    matrix = torch.randn(model.width, model.width, dtype=torch.float64)
    shift = torch.randn(model.width, dtype=torch.float64) if down_projection(model, 0).bias is not None else None
    shorter = without(model, Cut(1, 2))
    before, own = down_projection(model, 0), down_projection(shorter, 0)
    inside = torch.randn(5, before.weight.shape[1] if isinstance(before, nn.Linear) else before.weight.shape[0])
    was = before(inside).double()
    fold(shorter, 0, matrix, shift)
    wanted = was + was @ matrix.T + (0 if shift is None else shift)
    torch.testing.assert_close(own(inside), wanted.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(before(inside).double(), was)  # the original's


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_added_product_acts_on_the_whole_stream_behind_the_first_position(name, logits):
    model = tiny.architecture(name)
    torch.manual_seed(0)
    matrix, shift = torch.randn(model.width, model.width), torch.randn(model.width)
    shorter = without(model, Cut(1, tiny.LAYERS))
    ids = torch.arange(7, 27, 2)
    seen = []
    handle = model.blocks[0].register_forward_hook(
        lambda module, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    logits(model.network, ids)
    handle.remove()
    add_product(shorter, 0, matrix, shift)
    with torch.inference_mode():
        added = seen[0] @ matrix.T + shift
        added[:, 0] = 0
        wanted = model.decode(seen[0] + added)[0]
    torch.testing.assert_close(logits(shorter.network, ids), wanted, rtol=1e-4, atol=1e-4)
