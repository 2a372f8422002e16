"""Recorded vectors are those of the model, whatever the batch, the padding and the shard."""

import pytest
import tiny
import torch

from shortcuts.cards import states_card
from shortcuts.errors import InputError
from shortcuts.hidden import HiddenStates, extract, shard_files, shard_ranges
from shortcuts.resume import Partial
from shortcuts.tokens import Tokens


@pytest.fixture(params=tiny.FAMILIES)
def model(request):
    return tiny.model(request.param)


def test_recorded_states_are_those_of_each_sentence_run_alone_and_uncut(model):
    tokens = tiny.tokens(model, 40)
    shard = extract(model, tokens, 0, 40, tokens_per_batch=200)
    for row, (ids, position) in enumerate(zip(tokens.sentences, tokens.positions, strict=True)):
        with torch.inference_mode():
            out = model.network(input_ids=ids[None], output_hidden_states=True)
            decoded = model.decode(shard.hidden_states[-1, row])
        for layer in range(model.layers):
            torch.testing.assert_close(
                shard.hidden_states[layer, row], out.hidden_states[layer][0, position], atol=1e-5, rtol=1e-5
            )
        torch.testing.assert_close(decoded, out.logits[0, position], atol=2e-5, rtol=1e-4)


def test_neither_batch_size_nor_shard_limits_change_a_recorded_vector(model):
    tokens = tiny.tokens(model, 50)
    whole = extract(model, tokens, 0, 50, tokens_per_batch=10_000)
    single = extract(model, tokens, 0, 50, tokens_per_batch=1)
    parts = [extract(model, tokens, first, last, 64) for _, first, last in shard_ranges(50, 17)]
    torch.testing.assert_close(whole.hidden_states, single.hidden_states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.attention_outputs, single.attention_outputs, atol=1e-5, rtol=1e-5)
    joined = torch.cat([part.hidden_states for part in parts], dim=1)
    torch.testing.assert_close(whole.hidden_states, joined, atol=1e-5, rtol=1e-5)


def test_the_recorded_attention_output_completes_the_block(model):
    shard = extract(model, tiny.tokens(model, 20), 0, 20, 100)
    for block in range(model.layers):
        recorded = shard.attention_outputs[block]
        sites = model.sites(block, shard.hidden_states[block], lambda states, out=recorded: out)
        torch.testing.assert_close(sites[-1], shard.hidden_states[block + 1], atol=1e-5, rtol=1e-5)


def test_a_masked_models_sampled_token_is_hidden_even_in_tokens_brought_from_elsewhere():
    model = tiny.model("bert")
    masked = tiny.tokens(model, 20)
    shown = [ids.clone() for ids in masked.sentences]
    for ids, position in zip(shown, masked.positions, strict=True):
        ids[position] = 50
    ours = extract(model, masked, 0, 20, 100)
    theirs = extract(model, Tokens(shown, masked.positions), 0, 20, 100)
    assert torch.equal(ours.hidden_states, theirs.hidden_states)


def test_a_value_that_is_not_finite_stops_with_layer_and_sentence(model):
    block = model.blocks[1]
    with torch.no_grad():
        next(parameter for parameter in block.parameters() if parameter.ndim == 2).fill_(float("inf"))
    with pytest.raises(InputError, match=r"of sentence 7 "):
        extract(model, tiny.tokens(model, 10), 7, 10, 100)


def test_stored_shards_come_back_in_order_and_a_damaged_one_is_refused(model, tmp_path):
    tokens = tiny.tokens(model, 30)
    card = states_card(model, {}, "0" * 64, "corpus", "train", 30)
    with Partial("04", "item", {}, root=tmp_path / "work") as partial:
        for number, first, last in shard_ranges(30, 8):
            partial.save(number, shard_files(extract(model, tokens, first, last, 100), number))
        partial.publish(tmp_path / "hidden", card)
    states = HiddenStates.open(tmp_path / "hidden")
    assert (len(states), states.layers, states.width) == (30, tiny.LAYERS, tiny.WIDTH)
    whole = extract(model, tokens, 0, 30, 100).hidden_states
    torch.testing.assert_close(states.stack(), whole, atol=1e-5, rtol=1e-5)

    path = tmp_path / "hidden" / "00002.pickle"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"00002\.pickle is damaged"):
        states.stack()


def test_states_without_their_stage_name_the_stage(tmp_path):
    with pytest.raises(InputError, match="04_extract_hidden_states"):
        HiddenStates.open(tmp_path / "nothing")
