"""The next token from logits: the best, or a draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Choice = Callable[[Tensor], int]  # of logits (V,), one id


def greedy(logits: Tensor) -> int:
    """The token of the largest logit."""
    return int(logits.argmax())


class Sampler:
    """Draws from the softmax of logits over a temperature, one number of its own generator a token.

    One number for one token, whatever was drafted meanwhile: so speculative decoding draws what full decoding draws.
    """

    def __init__(self, temperature: float, seed: int = 0) -> None:
        self.temperature = temperature
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor) -> int:
        below = torch.softmax(logits.double().cpu() / self.temperature, dim=-1).cumsum(-1)
        drawn = torch.rand((), dtype=torch.float64, generator=self.generator) * below[-1]
        return min(int(torch.searchsorted(below, drawn, right=True)), len(below) - 1)
