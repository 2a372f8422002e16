"""Schedules: the best one is the best of all, and each covers every layer once."""

import itertools
import math

import pytest
import tiny
import torch
from hypothesis import given, settings, strategies as st

from linear_shortcuts.maps.linear_maps import LayerMaps
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.scores import schedules
from linear_shortcuts.scores.schedules import best_schedule, jumps


@settings(max_examples=40, deadline=None)
@given(layers=st.integers(1, 8), seed=st.integers(0, 10**6), low=st.sampled_from([-1.0, 0.0, 0.5]))
def test_the_best_schedule_is_that_of_brute_force(layers, seed, low):
    generator = torch.Generator().manual_seed(seed)
    pairs = itertools.combinations(range(layers + 1), 2)
    r2 = {pair: low + (1 - low) * float(torch.rand((), generator=generator)) for pair in pairs}

    def worth(schedule):
        return math.prod(max(0.0, r2[pair]) for pair in jumps(schedule, layers))

    for run in range(layers + 1):
        every = itertools.combinations(range(layers), run)
        found = best_schedule(r2, layers, run)
        assert len(found) == run
        assert worth(found) == pytest.approx(max(map(worth, every)), rel=1e-12)


@given(layers=st.integers(1, 12), data=st.data())
def test_blocks_and_jumps_cover_every_layer_once_and_no_jump_follows_another(layers, data):
    schedule = tuple(sorted(data.draw(st.sets(st.integers(0, layers - 1)))))
    made = jumps(schedule, layers)
    covered = [*schedule, *(block for i, j in made for block in range(i, j))]
    assert sorted(covered) == list(range(layers))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(made))


def test_round_robin_runs_some_and_skips_some():
    assert schedules.round_robin(6, 2, 1) == (0, 1, 3, 4)
    assert schedules.round_robin(6, 1, 2) == (0, 3)
    assert schedules.round_robin(6, 3, 0) == (0, 1, 2, 3, 4, 5)
    assert sorted(map(len, schedules.round_robins(6))) == [1, 2, 3, 4, 5]
    assert (0, 2, 4) in schedules.round_robins(6)
    with pytest.raises(ValueError, match="does not divide 6"):
        schedules.round_robin(6, 3, 1)


def test_greedy_leaves_out_what_costs_least_each_time():
    cost = [3.0, 1.0, 2.0]
    found = schedules.greedy_schedules(3, lambda own: [sum(cost) - sum(cost[block] for block in s) for s in own])
    assert found == [(0, 1, 2), (0, 2), (0,), ()]


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama (SmolLM: tied)"])
def test_what_cannot_be_scheduled_is_known_beforehand(name):
    model = tiny.architecture(name)
    pairs = itertools.combinations(range(model.layers + 1), 2)
    maps = LayerMaps.of({pair: torch.eye(model.width) for pair in pairs})
    assert schedules.possible(model, maps)
    assert not schedules.possible(model, LayerMaps.of({(0, model.layers): maps[0, model.layers]}))
    if not model.family.causal:
        assert not schedules.possible(wrap(model.network.base_model), maps)
