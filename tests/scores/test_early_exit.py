"""The early-exit sweep is a lookup, and equals deciding sample by sample."""

import math

import invented
import pytest
import torch
from hypothesis import given, settings, strategies as st

from linear_shortcuts.models.cost import Cost
from linear_shortcuts.scores.early_exit import ORIGINAL_POSITION, crossing, exit_layers, saving, spread, sweep

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


def one_by_one(made, where, lambda_, at=None):
    """The rule as the study states it, sample by sample; at: a position in the place of all."""
    mean = sum(t + 1 for t in where.tolist()) / len(where)
    layers = []
    for sample, t in enumerate(where.tolist() if at is None else [at] * len(where)):
        for layer in range(1, LAYERS):
            first, second = made[layer]["top_probabilities"][sample].double().tolist()
            if first - second > 0.9 * lambda_ + 0.1 * math.exp(-4 * t / mean):
                break
        else:
            layer = LAYERS
        layers.append(layer)
    return layers


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), lambda_=st.floats(-1.2, 1.2), at=st.sampled_from([None, ORIGINAL_POSITION]))
def test_every_threshold_equals_a_loop_over_samples(seed, lambda_, at):
    made, where = readouts(seed), positions(seed)
    [record] = sweep(made, where, [lambda_], "mat", COST, at=at)
    expected = one_by_one(made, where, lambda_, at)
    assert record["exit_layers"].tolist() == expected
    assert record["mean_layers"] == pytest.approx(sum(expected) / SAMPLES)
    for sample, layer in enumerate(expected):
        assert torch.equal(record["top_ids"][sample], made[layer]["top_ids"][sample])
        assert record["surprisal"][sample] == made[layer]["surprisal"][sample]
        hit = made[layer]["top_ids"][sample, 0] == made[LAYERS]["top_ids"][sample, 0]
        assert record["correct"][sample] == float(hit)


def test_a_lambda_nothing_reaches_is_the_full_model_and_one_all_reach_is_layer_one():
    made, where = readouts(0), positions(0)
    always, never = sweep(made, where, [-1.112, 1.112], "id", COST)
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


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), number=st.integers(0, 60), crowded=st.floats(1e-4, 1))
def test_thresholds_from_quantiles_run_evenly_spaced_layers_wherever_confidence_crowds(seed, number, crowded):
    generator = torch.Generator().manual_seed(seed)
    margins = 1 - crowded * torch.rand(LAYERS + 1, 300, generator=generator)
    margins[:, :3] = torch.nan  # a mapping that diverged never exits
    where = torch.randint(0, 30, (300,), generator=generator)
    lambdas = spread(margins, where, number)
    layers = [float(exit_layers(margins, where, lambda_).double().mean()) for lambda_ in lambdas]
    evenly = torch.linspace(1, LAYERS, number + 2, dtype=torch.float64)[1:-1]
    possible = evenly[evenly <= LAYERS - 3 / 300 * (LAYERS - 1)]
    assert len(lambdas) >= len(possible) - 1
    torch.testing.assert_close(torch.tensor(layers, dtype=torch.float64)[: len(possible)], possible, atol=0.05, rtol=0)


def test_one_block_has_no_threshold_to_find():
    assert spread(torch.rand(2, 30), positions(0)[:30], 5) == []


def test_the_saving_rests_on_no_gap_of_the_grid():
    """Confidence that crowds between two thresholds of the grid, and precision that rises sooner than layers."""
    samples = 1000
    generator = torch.Generator().manual_seed(0)
    margins = 0.9 * (0.91 + 0.08 * torch.rand(LAYERS + 1, samples, generator=generator))
    right = torch.arange(samples) % 3 == 0  # the others are right from layer 2 on
    made = [
        {
            "top_ids": torch.where(right | torch.tensor(layer >= 2), 1, 2)[:, None].expand(-1, 10),
            "top_probabilities": torch.stack([1 + margins[layer], 1 - margins[layer]], dim=1) / 2,
            "surprisal": torch.zeros(samples),
        }
        for layer in range(LAYERS + 1)
    ]
    where = torch.full((samples,), 10_000)  # so late that lambda alone decides
    grid = [-1.112, *(k / 10 for k in range(11)), 1.112]
    cost = Cost(blocks=torch.full((LAYERS, samples), 10.0, dtype=torch.float64), head=3.0, jump=2.0)

    def found(quantiles):
        return saving(sweep(made, where, grid, "id", cost, quantiles), 0.95, "mean_layers", LAYERS)

    # Every threshold there is, one by one, each sample looked up in the rule itself.
    read = torch.stack([m["top_probabilities"][:, 0] - m["top_probabilities"][:, 1] for m in made]).double()
    rest = 0.1 * math.exp(-4 * 10_000 / 10_001)
    points = []
    for lambda_ in ((read[1:-1].flatten() - rest) / 0.9).sort().values.tolist():
        fires = torch.cat([read[1:-1] > 0.9 * lambda_ + rest, torch.ones(1, samples, dtype=torch.bool)])
        layers = fires.int().argmax(0) + 1
        points.append((float(layers.double().mean()), float((right | (layers >= 2)).double().mean())))
    exact = 1 - min(layers for layers, precision in points if precision >= 0.95) / LAYERS
    assert abs(found(50) - exact) < 0.005
    assert abs(found(0) - exact) > 0.05  # positive control: the grid alone draws a line across


def test_later_positions_exit_more_easily():
    margins = torch.full((LAYERS + 1, 2), 0.55)
    assert exit_layers(margins, torch.tensor([0, 50]), 0.55).tolist() == [LAYERS, 1]


def test_the_cost_of_a_sweep_counts_blocks_checks_and_jumps():
    made, where = readouts(0), positions(0)
    always, never = sweep(made, where, [-1.112, 1.112], "mat", COST)
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


def test_an_exit_that_diverged_is_never_confident(results):
    fixed, *_ = results
    own = [dict(record) for record in fixed if record["mapping"] == "mat"]
    samples = len(own[1]["top_ids"])
    own[1] |= {"top_probabilities": torch.full((samples, 2), float("nan"))}
    assert 1 not in sweep(own, torch.arange(samples), [-1.112], "mat", invented.COST)[0]["exit_layers"]
