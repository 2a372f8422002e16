"""The files of the scores come back as they were saved, and are refused where they do not fit together."""

import json

import pytest
import torch
from invented import CARD, COST, LAYERS, SAMPLES

from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.scores.records import card_of, load_early, load_fixed, load_r2, save_fixed
from linear_shortcuts.scores.tables import R2

READ = card_of({**CARD, "files": {"0.pickle": "2"}}, CARD, CARD)
PAIRS = [(i, j) for i in range(LAYERS) for j in range(i + 1, LAYERS + 1)]


@pytest.fixture
def fixed(results):
    """The read-outs of `results`, as stored."""
    stored = ("top_probabilities", "surprisal", "kl")
    return [{**record, **{key: record[key].float() for key in stored}} for record in results[0]]


def test_fixed_exits_come_back_with_what_they_cost(fixed, tmp_path):
    positions = torch.arange(SAMPLES)
    save_fixed(tmp_path / "x.pickle", fixed, positions, COST, READ)
    value, cost = load_fixed(tmp_path / "x.pickle", made_by="score.py")
    assert value["card"] == json.loads(json.dumps(READ))
    assert "files" not in value["card"]["made_from"]
    assert torch.equal(value["positions"], positions)
    assert [record["mapping"] for record in value["records"]] == [record["mapping"] for record in fixed]
    assert torch.equal(cost.blocks, COST.blocks)
    assert (cost.head, cost.jump) == (COST.head, COST.jump)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda records: records[1:], "has not id and mat at every layer"),
        (lambda records: [*records, records[-1]], "has not id and mat at every layer"),
        (lambda records: [{**records[0], "layer": -1}, *records[1:]], "record 0 .*layer"),
        (lambda records: [{**records[0], "top_ids": records[0]["top_ids"][:, :3]}, *records[1:]], "3 tokens a sample"),
    ],
)
def test_fixed_exits_that_do_not_fit_together_are_refused_with_the_mend(fixed, tmp_path, change, said):
    save_fixed(tmp_path / "x.pickle", change(fixed), torch.arange(SAMPLES), COST, READ)
    with pytest.raises(InputError, match=rf"x\.pickle.*{said}.*; run score\.py again$"):
        load_fixed(tmp_path / "x.pickle", made_by="score.py")


def test_r2_is_of_the_same_pairs_in_every_mapping_up_to_the_last_layer(tmp_path):
    value = {**{name: dict.fromkeys(PAIRS, 0.5) for name in R2}, "card": CARD}
    artifacts.save(tmp_path / "r2.pickle", value)
    assert load_r2(tmp_path / "r2.pickle", made_by="score.py") == value
    for wrong, said in (
        ({R2[1]: dict.fromkeys(PAIRS[1:], 0.5)}, "other pairs of layers in one mapping"),
        ({"card": CARD | {"layers": LAYERS + 1}}, "other layers than its card's 4"),
    ):
        artifacts.save(tmp_path / "r2.pickle", value | wrong)
        with pytest.raises(InputError, match=rf"{said}.*; run score\.py again$"):
            load_r2(tmp_path / "r2.pickle", made_by="score.py")


def test_early_exits_are_of_both_mappings(results, tmp_path):
    early = results[1]
    for kept, good in ((early, True), ([record for record in early if record["mapping"] == "id"], False)):
        artifacts.save(tmp_path / "x.pickle", {"records": kept, "card": READ})
        if good:
            assert len(load_early(tmp_path / "x.pickle", made_by="sweep.py")["records"]) == len(early)
        else:
            with pytest.raises(InputError, match=r"is not of the mappings mat and id; run sweep\.py again$"):
                load_early(tmp_path / "x.pickle", made_by="sweep.py")
