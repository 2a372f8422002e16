"""LogitLensKit's JSON of a reading: its documented form, and the numbers of the lens at every layer."""

import json
from dataclasses import replace

import pytest
import torch

from linear_shortcuts import InputError
from linear_shortcuts.peek import read
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.text import Tokens


@pytest.fixture
def found(small):
    return read(small.model, small.tokenizer, small.text, small.lenses, masked=small.masked)


def recorded(small):
    """The states (L + 1, T, d) of the sentence at every word."""
    rows = small.ids.repeat(len(small.ids), 1)
    if small.masked:
        rows.fill_diagonal_(small.model.mask_token)
    return extract(small.model, Tokens(list(rows), torch.arange(len(rows))), 0, len(rows), 500).hidden_states


def cells(data):
    """As the format's own reader takes it: layer -> word -> [(token, its probability there)]."""
    assert data.keys() == {"meta", "input", "layers", "topk", "tracked"}
    assert data["meta"].keys() == {"version", "model"}
    assert data["meta"]["version"] == 2
    assert len(data["topk"]) == len(data["layers"])
    return [
        [[(token, tracked[token][row]) for token in cell] for cell, tracked in zip(line, data["tracked"], strict=True)]
        for row, line in enumerate(data["topk"])
    ]


@pytest.mark.parametrize("name", ["id", "mat"])
def test_every_layer_is_the_lens_read_out_after_a_block_by_the_number_of_the_block(small, found, name):
    data = json.loads(json.dumps(found.to_logitlenskit(name, top=3)))
    words = small.ids.tolist()
    assert data["input"] == [small.tokenizer.decode([token]) for token in words]
    assert data["layers"] == list(range(small.model.layers))  # the embeddings are the output of no block
    states = recorded(small)
    for block, line in zip(data["layers"], cells(data), strict=True):
        layer = block + 1
        state = states[layer] if layer == small.model.layers else small.lenses[name][layer].transport(states[layer])
        likely = small.model.decode(state).softmax(-1).topk(3)
        for column, cell in enumerate(line):
            assert [token for token, _ in cell] == [small.tokenizer.decode([id]) for id in likely.indices[column]]
            assert [p for _, p in cell] == pytest.approx(likely.values[column].tolist(), abs=2e-5)


def test_a_trajectory_has_the_layers_where_its_token_is_not_among_the_first(small, found):
    data, last = found.to_logitlenskit("id", top=1), len(found.layers) - 2
    logits = small.model.decode(recorded(small)[-1]).softmax(-1)
    seen = 0
    for column, tracked in enumerate(data["tracked"]):
        assert set(tracked) == {line[column][0] for line in data["topk"]}
        for token, trajectory in tracked.items():
            [number] = small.tokenizer.convert_tokens_to_ids([token])
            assert trajectory[last] == pytest.approx(float(logits[column, number]), abs=2e-5)
            seen += token != data["topk"][last][column][0]
    assert seen  # tokens that come first earlier and not there


def test_tokens_of_one_text_and_pieces_of_a_character_stay_apart(found):
    ids = [*found.words]
    alike = replace(found, texts={**found.texts, ids[0]: "a", ids[1]: "a", ids[2]: "\ufffd", ids[3]: " b"})
    named = alike.to_logitlenskit("mat")
    written = {*named["input"], *(token for row in named["topk"] for cell in row for token in cell)}
    assert not {"a", "\ufffd"} & written


def test_what_cannot_be_written_is_refused(small, found):
    with pytest.raises(InputError, match="there is no lens tuned in Reading"):
        found.to_logitlenskit("tuned")
    with pytest.raises(InputError, match="top is 11; give 1 to 10"):
        found.to_logitlenskit("mat", top=11)
    bare = read(small.model, small.tokenizer, small.text, small.lenses, masked=small.masked, ranks=False)
    with pytest.raises(InputError, match="has no trajectories"):
        bare.to_logitlenskit("mat")
