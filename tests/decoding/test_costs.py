"""What checks cost, by a clock that the test winds."""

import decoders
import tiny
import torch

from linear_shortcuts.decoding import calibrate, check_costs
from linear_shortcuts.decoding.costs import guess_cost


def wound(seconds):
    """A clock that is read before and after each thing, and then shows that it took the next of these seconds."""
    taken, now, started = iter(seconds), 0.0, False

    def clock():
        nonlocal now, started
        started = not started
        now += 0 if started else next(taken)
        return now

    return clock


def test_the_median_of_some_rounds_and_never_less_than_for_fewer_tokens():
    clock = wound([1, 3, 2, 4, 1, 1, 9, 3, 2])  # seconds of checks of 1, 2 and 3 tokens, in three rounds

    found = check_costs(tiny.architecture("llama"), 3, rounds=3, clock=clock)
    assert found == [4.0, 4.0, 4.0]  # medians 4, 3 and 2


def test_guessing_takes_the_median_of_what_is_guessed_and_what_is_kept():
    model = tiny.architecture("llama")
    rows = torch.randint(5, 90, (24, 20), generator=torch.Generator().manual_seed(3))
    clock = wound([1, 10, 3, 30, 2, 20])  # seconds of guessing and of keeping, in three rounds

    for layer in (0, 1):
        shortcuts = calibrate(model, rows, draft_layer=layer, draft_levels=2)
        assert guess_cost(model, shortcuts, [1.0] * 4, rounds=1) > 0
    assert guess_cost(model, shortcuts, [1.0] * 4, rounds=3, clock=clock) == 22.0


def test_every_family_can_be_timed_within_what_it_reads():
    for name in decoders.CAUSAL[::5]:
        costs = check_costs(tiny.architecture(name), 4, rounds=1)
        assert len(costs) == 4
        assert 0 < costs[0] <= costs[-1]
