"""States on disk: in order, whole, or refused."""

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.files.partial import Partial
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.states.provenance import states_card
from linear_shortcuts.states.shards import HiddenStates, shard_files, shard_ranges


def test_stored_shards_come_back_in_order_and_a_damaged_one_is_refused(model, tmp_path):
    tokens = tiny.tokens(model, 30)
    card = states_card(model, {}, "0" * 64, "corpus", "train", 30)
    with Partial("04", "item", {}, root=tmp_path / "work", code=__file__) as partial:
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
    with pytest.raises(InputError, match=r"card\.json does not exist; run stages/04_extract_hidden_states\.py first$"):
        HiddenStates.open(tmp_path / "nothing", made_by="stages/04_extract_hidden_states.py")
    with pytest.raises(InputError, match=r"card\.json does not exist$"):
        HiddenStates.open(tmp_path / "nothing")
