"""What is fitted, against scikit-learn on states recorded by other means; refusals in one line."""

import pytest
import tiny
import torch
from sklearn.linear_model import LinearRegression

from linear_shortcuts.decoding import calibrate, rows_of
from linear_shortcuts.decoding.calibration import SKIPPED
from linear_shortcuts.decoding.stack import Affine
from linear_shortcuts.files import InputError
from linear_shortcuts.states.extraction import SequenceRecorder

ROWS = torch.randint(5, 90, (24, 20), generator=torch.Generator().manual_seed(3))


def states_of(model):
    recorder = SequenceRecorder()
    gave = {}
    hooks = [
        getattr(block.self_attn, name).register_forward_hook(
            lambda module, args, output, key=(number, name): gave.__setitem__(key, output)
        )
        for number, block in enumerate(model.blocks)
        for name in ("k_proj", "v_proj")
    ]
    with torch.inference_mode(), model.watch(recorder):
        model.encode(ROWS, None)
    for hook in hooks:
        hook.remove()
    return recorder.states, gave


def flat(values, up=0, level=0):
    return torch.stack([row[place - up] for row in values for place in range(SKIPPED + level, ROWS.shape[1])])


def agrees(affine: Affine, source, target):
    fitted = LinearRegression().fit(source, target)
    torch.testing.assert_close(affine(source), torch.tensor(fitted.predict(source)), atol=2e-3, rtol=2e-3)


def test_every_map_is_what_scikit_learn_fits():
    model = tiny.architecture("llama")
    shortcuts = calibrate(model, ROWS, exits=[1, 2], draft_layer=1, draft_levels=2)
    states, gave = states_of(model)
    last = model.layers
    read = model.network.model.norm(states[last])
    agrees(shortcuts.maps["exit.1"], flat(states[1]), flat(states[last]))
    agrees(shortcuts.maps["map.1.2"], flat(states[1]), flat(states[2]))
    for source, block in ((1, 1), (1, 2), (2, 2)):
        keys_values = torch.cat([flat(gave[block, "k_proj"]), flat(gave[block, "v_proj"])], dim=1)
        agrees(shortcuts.maps[f"kv_map.{source}.{block}"], flat(states[source]), keys_values)
    one = torch.cat([flat(states[1], 0, 1), flat(states[2], 1, 1), flat(states[last], 1, 1)], dim=1)
    agrees(shortcuts.maps["draft.0"], one, flat(read, 0, 1))
    above = [flat(states[2], 2, 2), flat(states[last], 2, 2)]
    two = torch.cat([flat(states[1], 0, 2), flat(states[1], 1, 2), *above], dim=1)
    agrees(shortcuts.maps["draft.1"], two, flat(read, 0, 2))
    assert len(shortcuts.maps) == 2 + 2 + 1 + 3
    assert shortcuts.exits == [1, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exits": [3]}, "exits name layer 3; llama can be left at the layers 1..2"),
        ({"draft_layer": 3}, "draft_layer is 3, but llama has layers 0..2 before its last"),
        ({"draft_layer": 1, "draft_middle": 0}, "draft_middle is 0; it is a layer from the draft's, 1, to 2"),
        ({"draft_levels": 0}, "draft_levels is 0; a draft looks one token ahead or more"),
        ({"rows": ROWS[:3]}, "3 rows of 20 tokens give 27 to fit on, but 121 are needed"),
        ({"rows": ROWS.float()}, "rows are torch.float32"),
        ({"rows": torch.ones(4, 40, dtype=torch.int64)}, "rows have 40 tokens, but llama reads 32 at most"),
    ],
)
def test_what_cannot_be_fitted_ends_in_one_line(settings, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        calibrate(tiny.architecture("llama"), **{"rows": ROWS, **settings})


def test_a_masked_model_generates_nothing():
    with pytest.raises(InputError, match="bert is a masked model, which generates nothing"):
        calibrate(tiny.model("bert"), ROWS)


def test_rows_are_running_text_and_no_row_crosses_two_texts():
    def tokenizer(texts, verbose):
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    rows = rows_of(tokenizer, ["abcdefg", "xy", "hijklm"], 3)
    assert ["".join(map(chr, row)) for row in rows.tolist()] == ["abc", "def", "hij", "klm"]
    with pytest.raises(InputError, match="no text has 9 tokens"):
        rows_of(tokenizer, ["abcdefg", "xy"], 9)
