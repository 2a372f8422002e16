"""The study's maps from recorded states: one call, or stage by stage, to the same numbers."""

import pytest
import torch

from linear_shortcuts import InputError, LayerMaps, fit_maps
from linear_shortcuts.maps import fitting
from linear_shortcuts.maps.fitting import layer_moments, layer_targets, passes
from linear_shortcuts.states import Shard


@pytest.fixture
def states():
    """h_0..h_3 of 60 tokens, (4, 60, 8)."""
    return torch.randn(4, 60, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("memory", [2.0, 0.0])
def test_one_call_fits_what_the_stage_fits_in_as_many_passes_as_memory_asks_for(states, monkeypatch, memory):
    monkeypatch.setattr(fitting, "MEMORY_GIB", memory)
    maps = fit_maps(states)
    moments = layer_moments(range(3), [Shard(states, torch.empty(0))], 3, "all", torch.device("cpu"))
    assert sorted(maps) == [(i, j) for i in range(3) for j in range(i + 1, 4)]
    for i in range(3):
        for j, matrix in zip(layer_targets(i, 3, "all"), moments[i].solve().matrices, strict=True):
            assert torch.equal(maps[i, j], matrix.float())


def test_an_exact_relation_is_recovered_and_jumps(states):
    turned = states.clone()
    turned[2] = states[0] @ torch.diag(torch.arange(1.0, 9)) + 0
    maps = fit_maps(turned)
    torch.testing.assert_close(maps[0, 2], torch.diag(torch.arange(1.0, 9)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps.jump(turned[0], 0, 2), turned[2], atol=1e-4, rtol=1e-4)
    assert isinstance(maps, LayerMaps)
    assert (maps.layers, maps.width) == (3, 8)
    assert repr(maps) == "LayerMaps(6 matrices between layers, in memory)"
    with pytest.raises(InputError, match=r"no matrix for \(2, 1\)"):
        maps.jump(turned[0], 2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda states: states[:, :7], "7 tokens cannot determine maps of width 8; give the states of 8 or more"),
        (lambda states: states[0], r"shape \(60, 8\)"),
        (lambda states: states.long(), "torch.int64"),
        (lambda states: states / 0, "not finite"),
        (lambda states: states.numpy(), "states is a ndarray; give what hidden_states makes of texts"),
    ],
)
def test_states_that_determine_no_map_are_refused(states, change, message):
    with pytest.raises(InputError, match=message):
        fit_maps(change(states))


def test_a_group_holds_what_memory_allows_and_one_unit_at_least():
    assert passes({0: 3, 1: 2, 2: 1}, 1024, 5 * 8 / 1024) == [[0, 1], [2]]
    assert passes({0: 3, 1: 2}, 1024, 0.0) == [[0], [1]]
