"""What checks cost, by a clock that the test winds."""

import decoders
import tiny

from linear_shortcuts.decoding import check_costs


def test_the_median_of_some_rounds_and_never_less_than_for_fewer_tokens():
    taken = iter([1, 3, 2, 4, 1, 1, 9, 3, 2])  # seconds of checks of 1, 2 and 3 tokens, in three rounds
    now, started = 0.0, False

    def clock():
        nonlocal now, started
        started = not started
        now += 0 if started else next(taken)
        return now

    found = check_costs(tiny.architecture("llama"), 3, rounds=3, clock=clock)
    assert found == [4.0, 4.0, 4.0]  # medians 4, 3 and 2


def test_every_family_can_be_timed_within_what_it_reads():
    for name in decoders.CAUSAL[::5]:
        costs = check_costs(tiny.architecture(name), 4, rounds=1)
        assert len(costs) == 4
        assert 0 < costs[0] <= costs[-1]
