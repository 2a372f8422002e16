"""A reading says what the pipeline's read-outs and the model itself say, at every layer and word."""

import copy
import json

import pytest
import torch
from torch.testing import assert_close

from linear_shortcuts import InputError, SubmoduleMaps
from linear_shortcuts.lenses import LensSet
from linear_shortcuts.peek import read
from linear_shortcuts.scores.exits import NO_TOKEN, layer_guesses, part_guesses, score_exits
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.text import Tokens


def sentences(small):
    """As the pipeline has them, one a position: a causal model's whole sentence, a masked one's masked there."""
    rows = small.ids.repeat(len(small.ids), 1)
    if small.masked:
        rows.fill_diagonal_(small.model.mask_token)
    return Tokens(list(rows), torch.arange(len(small.ids)))


def reading(small, **how):
    how = {"lenses": small.lenses, "masked": small.masked, **how}
    return read(small.model, small.tokenizer, small.text, how.pop("lenses"), **how)


def test_cells_are_the_read_outs_of_the_pipeline(small):
    data, found = sentences(small), reading(small, parts=small.parts)
    states = extract(small.model, data, 0, len(data), 500).hidden_states
    parts = part_guesses(small.model, data, small.parts, 500)
    expected = score_exits(small.model, states, layer_guesses(states, small.maps) | parts)
    assert set(found.lenses) == {mapping for mapping, _ in expected} >= {"id", "mat", *parts}
    for (mapping, layer), readout in expected.items():
        cells = found.lenses[mapping]
        assert torch.equal(cells.ids[layer], readout.top_ids)
        assert_close(cells.probabilities[layer, :, :2], readout.top_probabilities, rtol=1e-4, atol=1e-6)


def test_the_last_row_is_the_models_own_prediction(small):
    found, data = reading(small), sentences(small)
    with torch.inference_mode():
        logits = small.model.network(input_ids=torch.stack(data.sentences)).logits
    own = logits[torch.arange(len(data)), data.positions].softmax(-1)
    assert list(found.answers) == own.argmax(-1).tolist()
    for cells in found.lenses.values():
        assert_close(cells.probabilities[-1], own.topk(10).values, rtol=1e-4, atol=1e-6)


def test_ranks_are_those_of_brute_force(small):
    found, data = reading(small, follow=[7]), sentences(small)
    states = extract(small.model, data, 0, len(data), 500).hidden_states
    for name, lens in small.lenses.items():
        for row, layer in enumerate(found.layers):
            state = states[layer] if layer == small.model.layers else lens[layer].transport(states[layer])
            for position, values in enumerate(small.model.decode(state).log_softmax(-1)):
                order = values.argsort(descending=True).tolist()
                own = found.lenses[name].ranks[position]
                assert {7, found.answers[position], int(found.lenses[name].ids[row, position, 0])} <= set(own)
                for token, ranks in own.items():
                    assert int(ranks[row]) == order.index(token) + 1


def test_layers_can_be_left_out_but_never_the_last(small):
    whole, some = reading(small), reading(small, every=2)
    assert some.layers == (0, 2, 3)
    assert torch.equal(some.lenses["mat"].ids, whole.lenses["mat"].ids[[0, 2, 3]])
    [first, *_] = some.cell("mat", layer=3, position=-1)
    assert first[0] == some.words[some.answers[-1]]


def test_a_masked_text_is_read_once_with_its_special_words(small):
    if not small.masked:
        with pytest.raises(InputError, match="predicts the next token and masks none"):
            reading(small, masked=True)
        return
    tokenizer = copy.deepcopy(small.tokenizer)
    tokenizer.add_special_tokens({"mask_token": f"w{small.model.mask_token}"})
    with pytest.raises(InputError, match="the text has w4 0 times; write it once"):
        read(small.model, tokenizer, small.text, small.lenses)
    found = read(small.model, tokenizer, small.text.replace("w20", "w4"), small.lenses)
    turned = reading(small)
    assert torch.equal(found.lenses["mat"].ids[:, 1], turned.lenses["mat"].ids[:, 1])


def test_what_cannot_be_read_is_refused(small):
    with pytest.raises(InputError, match="has no token"):
        read(small.model, small.tokenizer, "", small.lenses)
    with pytest.raises(InputError, match="every is 0"):
        reading(small, every=0)
    with pytest.raises(InputError, match="leads to layer 2, not to 3"):
        reading(small, lenses={"x": LensSet({0: small.lenses["id"][0].__class__("x", 0, 2)}, {"lens": "x"})})


def test_a_layer_that_one_lens_does_not_read_is_left_out_of_all(small):
    later = LensSet(
        {i: small.lenses["mat"][i] for i in (1, 2)}, small.lenses["mat"].card
    )  # as a Jacobian lens has them
    found, whole = reading(small, lenses={"later": later, "id": small.lenses["id"]}), reading(small)
    assert found.layers == (1, 2, 3)
    assert torch.equal(found.lenses["id"].ids, whole.lenses["id"].ids[1:])
    assert torch.equal(found.lenses["later"].ids, whole.lenses["mat"].ids[1:])


def test_no_lens_is_lost_behind_a_part_of_its_name(small):
    with pytest.raises(InputError, match="a stand-in of parts is shown as mat_ffn; show the lens of that name under"):
        reading(small, lenses={"mat_ffn": small.lenses["id"]}, parts=small.parts)


def test_a_lens_that_diverges_says_so_as_the_pipeline_does(small):
    """Stand-ins so large that numbers overflow, as those of norms are in a deep model."""
    large = SubmoduleMaps.of({key: 1e30 * matrix for key, matrix in small.parts.items()})
    data, found = sentences(small), reading(small, parts=large)
    states = extract(small.model, data, 0, len(data), 500).hidden_states
    expected = score_exits(small.model, states, part_guesses(small.model, data, large, 500))
    lost = 0
    for (mapping, layer), readout in expected.items():
        cells = found.lenses[mapping]
        assert torch.equal(cells.ids[layer], readout.top_ids)
        for position, token in enumerate(readout.top_ids[:, 0].tolist()):
            away = token == NO_TOKEN
            lost += away
            assert (found.cell(mapping, layer, position) == []) == away
            assert {int(ranks[layer]) == 0 for ranks in cells.ranks[position].values()} == {away}
    assert lost
    held = json.loads(json.dumps(found.as_dict(), allow_nan=False))  # what a browser can read
    assert held["words"]["-1"] == "diverged"
    lens = next(name for name, cells in found.lenses.items() if (cells.ids == NO_TOKEN).any())
    with pytest.raises(InputError, match=f"the lens {lens} diverges at some layer"):
        found.to_logitlenskit(lens)


def test_a_reading_says_what_it_is(small):
    found = reading(small)
    assert repr(found) == f"Reading(4 layers of {small.model.name} at 5 tokens: id, mat)"
