"""Draws against the probabilities they are made from."""

import torch

from linear_shortcuts.decoding.choice import Sampler, greedy


def test_draws_have_the_frequencies_of_the_softmax():
    logits = torch.tensor([1.0, 3.0, 2.0, -40.0])
    for temperature in (0.5, 1.0, 2.0):
        sampler = Sampler(temperature, seed=1)
        drawn = torch.bincount(torch.tensor([sampler(logits) for _ in range(4000)]), minlength=4) / 4000
        torch.testing.assert_close(drawn, torch.softmax(logits / temperature, 0), atol=0.03, rtol=0)
        assert drawn[3] == 0


def test_a_low_temperature_is_greedy_and_a_seed_says_what_is_drawn():
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert Sampler(1e-6)(logits) == greedy(logits) == int(logits.argmax())
    first, again, other = (
        [sampler(logits) for _ in range(20)] for sampler in (Sampler(1, 3), Sampler(1, 3), Sampler(1, 4))
    )
    assert first == again != other
