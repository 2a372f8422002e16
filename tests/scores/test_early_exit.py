"""The early-exit sweep is a lookup, and equals deciding sample by sample."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from linear_shortcuts.models.cost import Cost
from linear_shortcuts.scores.early_exit import crossing, exit_layers, saving, sweep

LAYERS, SAMPLES = 5, 40
COST = Cost(blocks=torch.full((LAYERS, SAMPLES), 10.0, dtype=torch.float64), head=3.0, jump=2.0)


def readouts(seed):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(LAYERS + 1):
        probabilities = torch.rand(SAMPLES, 3, generator=generator).mul(6).softmax(-1).sort(descending=True).values
        made.append(
            {
                "top_ids": torch.stack([torch.randperm(20, generator=generator)[:10] for _ in range(SAMPLES)]),
                "top_probabilities": probabilities[:, :2],
                "surprisal": torch.rand(SAMPLES, generator=generator),
            }
        )
    return made


def positions(seed):
    return torch.randint(0, 30, (SAMPLES,), generator=torch.Generator().manual_seed(seed))


def one_by_one(made, where, lambda_):
    """The rule as the study states it, sample by sample."""
    mean = sum(t + 1 for t in where.tolist()) / len(where)
    layers = []
    for sample, t in enumerate(where.tolist()):
        for layer in range(1, LAYERS):
            first, second = made[layer]["top_probabilities"][sample].double().tolist()
            if first - second > 0.9 * lambda_ + 0.1 * math.exp(-4 * t / mean):
                break
        else:
            layer = LAYERS
        layers.append(layer)
    return layers


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), lambda_=st.floats(-1.2, 1.2))
def test_every_threshold_equals_a_loop_over_samples(seed, lambda_):
    made, where = readouts(seed), positions(seed)
    [record] = sweep(made, where, [lambda_], "mat", COST)
    expected = one_by_one(made, where, lambda_)
    assert record["exit_layers"].tolist() == expected
    assert record["mean_layers"] == pytest.approx(sum(expected) / SAMPLES)
    for sample, layer in enumerate(expected):
        assert torch.equal(record["top_ids"][sample], made[layer]["top_ids"][sample])
        assert record["surprisal"][sample] == made[layer]["surprisal"][sample]
        hit = made[layer]["top_ids"][sample, 0] == made[LAYERS]["top_ids"][sample, 0]
        assert record["correct"][sample] == float(hit)


def test_a_lambda_nothing_reaches_is_the_full_model_and_one_all_reach_is_layer_one():
    made, where = readouts(0), positions(0)
    never, always = sweep(made, where, [1.112, -1.112], "id", COST)
    assert (never["exit_layers"] == LAYERS).all()
    assert never["correct"].mean() == 1
    assert (always["exit_layers"] == 1).all()
    assert torch.equal(always["top_ids"], made[1]["top_ids"])


def test_the_mean_layer_never_falls_as_lambda_grows():
    made, where = readouts(3), positions(3)
    lambdas = torch.linspace(-1.2, 1.2, 60).tolist()
    layers = [record["mean_layers"] for record in sweep(made, where, lambdas, "mat", COST)]
    assert layers == sorted(layers)
    assert layers[0] < layers[-1]


def test_later_positions_exit_more_easily():
    margins = torch.full((LAYERS + 1, 2), 0.55)
    assert exit_layers(margins, torch.tensor([0, 50]), 0.55).tolist() == [LAYERS, 1]


def test_the_cost_of_a_sweep_counts_blocks_checks_and_jumps():
    made, where = readouts(0), positions(0)
    never, always = sweep(made, where, [1.112, -1.112], "mat", COST)
    full = 10 * LAYERS + 3
    assert always["relative_cost"] == pytest.approx((10 + 3 + 2) / full)
    assert never["relative_cost"] == pytest.approx((10 * LAYERS + 3 * LAYERS + 2 * (LAYERS - 1)) / full)
    [unchanged] = sweep(made, where, [1.112], "id", COST)
    assert unchanged["relative_cost"] == pytest.approx((10 * LAYERS + 3 * LAYERS) / full)


def test_the_crossing_is_interpolated_between_the_neighbouring_points():
    x, y = torch.tensor([6.0, 2.0, 4.0]), torch.tensor([1.0, 0.5, 0.9])
    assert crossing(x, y, 0.95) == pytest.approx(5.0)
    assert crossing(x, y, 0.9) == pytest.approx(4.0)
    assert crossing(x, y, 0.3) == pytest.approx(2.0)
    assert crossing(x, y, 1.5) is None


def test_the_saving_is_the_share_of_layers_not_run_and_none_if_never_reached():
    records = [
        {"mean_layers": 2.0, "relative_cost": 0.6, "correct": torch.tensor([1.0, 0.0])},
        {"mean_layers": 4.0, "relative_cost": 1.2, "correct": torch.tensor([1.0, 1.0])},
    ]
    assert saving(records, 0.75, "mean_layers", 4) == pytest.approx(1 - 3 / 4)
    assert saving(records, 1.0, "relative_cost", 1) == pytest.approx(-0.2)
    exactly = torch.cat([torch.ones(2850), torch.zeros(150)])  # whose float32 mean is a little less than 0.95
    at_the_level = [{"mean_layers": 3.0, "relative_cost": 0.9, "correct": exactly}]
    assert saving(at_the_level, 0.95, "mean_layers", 6) == pytest.approx(0.5)
    assert saving(records[:1], 0.95, "mean_layers", 4) is None
