"""Recorded vectors are those of the model, whatever the batch, the padding and the shard."""

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.maps.regression import fit
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.states.extraction import batches, count_vectors, extract, hidden_states
from linear_shortcuts.states.shards import HiddenStates, shard_ranges
from linear_shortcuts.text.tokens import Tokens


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


def test_all_positions_are_those_of_each_sentence_run_alone(model):
    tokens = tiny.tokens(model, 20)
    shard = extract(model, tokens, 0, 20, 100, "all")
    first = 0
    for ids in tokens.sentences:
        with torch.inference_mode():
            out = model.network(input_ids=ids[None], output_hidden_states=True)
        for layer in range(model.layers):
            rows = shard.hidden_states[layer, first : first + len(ids)]
            torch.testing.assert_close(rows, out.hidden_states[layer][0], atol=1e-5, rtol=1e-5)
        first += len(ids)
    assert shard.hidden_states.shape[1] == shard.attention_outputs.shape[1] == first == count_vectors(tokens, "all")


def test_all_positions_hold_the_sampled_ones(model):
    tokens = tiny.tokens(model, 20)
    every = extract(model, tokens, 0, 20, 64, "all")
    sampled = extract(model, tokens, 0, 20, 64)
    rows = tokens.lengths.cumsum(0) - tokens.lengths + tokens.positions
    torch.testing.assert_close(every.hidden_states[:, rows], sampled.hidden_states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(every.attention_outputs[:, rows], sampled.attention_outputs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["sampled", "all"])
def test_an_overflow_names_its_sentence_at_all_positions_too(positions):
    model = tiny.model("gpt2")
    tokens = tiny.tokens(model, 10)
    with torch.no_grad():  # a token that only sentence 7 has
        tokens.sentences[7][tokens.positions[7]] = 96
        for row, ids in enumerate(tokens.sentences):
            if row != 7:
                ids[ids == 96] = 5
        model.network.transformer.wte.weight[96] = float("inf")
    with pytest.raises(InputError, match=r"of sentence 7 "):
        extract(model, tokens, 0, 10, 100, positions)


class _Words:
    """A tokenizer of numbers written out, as `hidden_states` calls one."""

    mask_token = "MASK"

    def __call__(self, texts, verbose):
        return {"input_ids": [[tiny.MASK if word == "MASK" else int(word) for word in text.split()] for text in texts]}


TEXTS = {"gpt2": ["7 8 9", "5 6", "11 12 13 14"], "bert": ["7 MASK 9", "MASK 6", "11 12 13 MASK"]}


@pytest.mark.parametrize("at", ["prediction", "all"])
def test_texts_become_the_states_that_extraction_records(model, at):
    texts = TEXTS[model.name]
    read = [torch.tensor(ids) for ids in _Words()(texts, verbose=False)["input_ids"]]
    last = torch.tensor([len(ids) - 1 for ids in read]) if model.family.causal else torch.tensor([1, 0, 3])
    found = hidden_states(model, _Words(), texts, at)
    shard = extract(model, Tokens(read, last), 0, 3, 1024, "all" if at == "all" else "sampled")
    assert torch.equal(found, shard.hidden_states)
    assert found.shape == (model.layers + 1, 9 if at == "all" else 3, model.width)
    assert not found.is_inference()  # a probe can be trained on them


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [
        ("gpt2", "7 8", "texts must be a list with at least one text"),
        ("gpt2", [], "texts must be a list"),
        ("gpt2", ["7", 8], "text 1 is a int; give a list of strings"),
        ("gpt2", ["7", ""], "text 1 has no token"),
        ("gpt2", ["7 " * 33], "sentence 0 has 33 tokens but the model takes 32; cut it"),
        ("gpt2", ["97"], "the model knows 0..96"),
        ("bert", ["MASK 7", "7 8"], "text 1 has the mask token 0 times.*write MASK once in every text"),
        ("bert", ["MASK MASK"], "text 0 has the mask token 2 times"),
    ],
)
def test_texts_that_the_model_cannot_read_are_named(kind, texts, message):
    with pytest.raises(InputError, match=message):
        hidden_states(tiny.model(kind), _Words(), texts)
    with pytest.raises(InputError, match="at is 'last'; it must be 'prediction' or 'all'"):
        hidden_states(tiny.model(kind), _Words(), ["MASK"], "last")
    with pytest.raises(InputError, match="model is 'models/tiny-gpt2'; give what load_model"):
        hidden_states("models/tiny-gpt2", _Words(), ["MASK"])
    with pytest.raises(InputError, match="tokenizer is 'models/tiny-gpt2'; give what load_tokenizer makes"):
        hidden_states(tiny.model(kind), "models/tiny-gpt2", ["MASK"])


@pytest.mark.parametrize("positions", ["sampled", "all"])
def test_no_batch_and_no_cut_crosses_a_length_that_switches_the_model(positions):
    longrope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    network = tiny.random_network("phi3", rope_parameters=longrope, original_max_position_embeddings=12)
    model = wrap(network)
    assert model.switch == 12
    assert tiny.model("gpt2").switch is None
    tokens = tiny.tokens(model, 40)
    assert {bool(length > 12) for length in tokens.lengths} == {True, False}
    shard = extract(model, tokens, 0, 40, 10_000, positions)
    whole = []
    for ids, position in zip(tokens.sentences, tokens.positions.tolist(), strict=True):
        with torch.inference_mode():
            states = torch.stack(model.network(input_ids=ids[None], output_hidden_states=True).hidden_states)[:, 0]
        whole.append(states if positions == "all" else states[:, [position]])
    torch.testing.assert_close(shard.hidden_states[:-1], torch.cat(whole, dim=1)[:-1], atol=1e-5, rtol=1e-5)


def test_what_a_notebook_shows_of_a_value_is_one_short_line(model, tmp_path):
    tokens = tiny.tokens(model, 9)
    shard = extract(model, tokens, 0, 9, 500)
    states = HiddenStates(tmp_path, {"layers": 3, "width": 24, "vectors": 9})
    solution = fit(shard.hidden_states[0], shard.hidden_states[1])
    kind = type(model.network).__name__
    assert repr(model) == f"LanguageModel({model.name}: {kind}, 3 blocks of width 24, on cpu)"
    assert repr(tokens) == f"Tokens(9 sentences, {sum(map(len, tokens.sentences))} tokens)"
    assert repr(shard) == "Shard(hidden_states (4, 9, 24), attention_outputs (3, 9, 24))"
    assert repr(states) == f"HiddenStates(9 vectors of layers 0..3, width 24, in {tmp_path})"
    assert repr(solution) == f"Solution(matrices (1, 24, 24), rank {solution.rank})"


def test_an_empty_batch_of_sentences_gives_no_batches(model):
    assert list(batches(Tokens([], torch.empty(0, dtype=torch.int64)), model, 100)) == []
