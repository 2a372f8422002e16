"""Transfer: a refit is least squares on every second row, and each map is read out as an exit is."""

import pytest
import tiny
import torch
from invented import BOOTSTRAP

from linear_shortcuts.maps.fitting import fit_maps
from linear_shortcuts.scores import transfer
from linear_shortcuts.scores.tables import KL
from linear_shortcuts.states.extraction import Shard, extract


def states_of(model, number, seed):
    return extract(model, tiny.tokens(model, number, seed=seed), 0, number, 500).hidden_states


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def tried(request):
    """A model, held-out states, and three kinds of maps."""
    model = tiny.architecture(request.param)
    train = states_of(model, 200, 1)
    shards = [Shard(part, part[:0]) for part in train.split(60, dim=1)]
    half = transfer.refit_on_half(shards, model.layers, model.device)
    maps = {"own": fit_maps(train), "other": fit_maps(states_of(model, 120, 2)), "half": half}
    return model, states_of(model, 40, 3), maps, shards


def test_the_refit_is_least_squares_on_every_second_row(tried):
    model, held, maps, shards = tried
    rows = torch.cat([shard.hidden_states[:, ::2] for shard in shards], 1).double()
    assert sorted(maps["half"]) == [(layer, model.layers) for layer in range(model.layers)]
    wanted = torch.linalg.lstsq(rows[1], rows[-1], driver="gelsd").solution
    torch.testing.assert_close(
        held[1].double() @ maps["half"][1, model.layers].T.double(), held[1].double() @ wanted, atol=1e-3, rtol=1e-3
    )


def test_each_map_is_read_out_as_an_exit_is(tried):
    model, held, maps, _ = tried
    records = transfer.score_maps(model, held, maps, [0, 2])
    assert [(record["maps"], record["layer"]) for record in records] == [(m, i) for m in maps for i in (0, 2)]
    whole = model.decode(held[-1])
    for record in records:
        logits = model.decode(held[record["layer"]] @ maps[record["maps"]][record["layer"], model.layers].T)
        kl = torch.nn.functional.kl_div(
            logits.log_softmax(-1), whole.log_softmax(-1), log_target=True, reduction="none"
        )
        torch.testing.assert_close(record["kl"], kl.sum(-1), atol=1e-5, rtol=1e-3)
        assert record["correct"].bool().tolist() == (logits.argmax(-1) == whole.argmax(-1)).tolist()
    assert not torch.allclose(records[0]["kl"], records[2]["kl"])


def test_differences_are_paired_and_the_mean_is_over_layers(tried):
    model, held, maps, _ = tried
    same = transfer.score_maps(model, held, {**maps, "other": maps["own"]}, [0, 1])
    differ = transfer.score_maps(model, held, maps, [0, 1])
    table = transfer.transfer_table({"x": same, "y": differ}, BOOTSTRAP, 0)
    at = {(r["corpus"], r["panel"], r["maps"], r["layer"]): r for r in table}
    nothing = at["x", KL, "other-own", None]
    assert (nothing["value"], nothing["low"], nothing["high"]) == (0, 0, 0)
    own, other, less = (at["y", KL, name, None] for name in ("own", "other", "other-own"))
    assert less["value"] == pytest.approx(other["value"] - own["value"], abs=1e-6)
    assert less["low"] < less["value"] < less["high"]
    assert less["high"] - less["low"] < (own["high"] - own["low"]) + (other["high"] - other["low"])
    assert own["value"] == pytest.approx((at["y", KL, "own", 0]["value"] + at["y", KL, "own", 1]["value"]) / 2)
    assert transfer.by_maps(table, KL).count("\n") == 3


def test_where_blocks_are_linear_maps_of_any_text_will_do():
    model = tiny.linear_model("gpt2")
    maps = {name: fit_maps(states_of(model, 100, seed)) for name, seed in (("own", 1), ("other", 2), ("half", 3))}
    records = transfer.score_maps(model, states_of(model, 30, 4), maps, [0, 1])
    assert min(float(record["correct"].mean()) for record in records) == 1
