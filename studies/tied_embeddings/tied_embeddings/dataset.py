"""What is to be guessed: sequences of symbols with some of them masked.

`Dataset` is all that training asks of a source of examples. `Xor` is the study's own: strings of bits with their
parity, where each bit is written with one of several symbols of equal meaning (Bertolotti and Cazzola 2024).
"""

from __future__ import annotations

import abc
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tied_embeddings.settings import check_distribution

IGNORED = -100  # the target where nothing is to be guessed, as `F.cross_entropy` has it
SPLITS = ("train", "validation", "test")


class Batch(NamedTuple):
    """ids: (n, N) int64, what the model reads; targets: (n, N) int64, the symbol to guess or `IGNORED`."""

    ids: Tensor
    targets: Tensor


class Dataset(abc.ABC):
    """A source of examples, drawn anew at every call from the generator that is passed in."""

    vocabulary: int
    length: int | None  # of every sequence; None where it differs from batch to batch
    padding: int | None = None  # the id that fills sequences up, which a model must not look at
    mask: int | None = None  # the id that stands where something is to be guessed, if that is always so
    single_target: bool = False  # whether every sequence has exactly one symbol to guess
    draws_at_once: int = 1  # how many batches are best drawn in one call

    @property
    def pairs(self) -> Tensor | None:
        """The ids (P,) between which distances are recorded; None: all of the vocabulary."""
        return None

    @abc.abstractmethod
    def batch(self, split: str, generator: torch.Generator) -> Batch:
        """One draw of a split. The generator alone decides what is drawn."""

    def batches(self, split: str, generator: torch.Generator, number: int) -> Batch:
        """The next `number` draws, those that as many calls of `batch` would give, as (number, n, N) each."""
        drawn = [self.batch(split, generator) for _ in range(number)]
        return Batch(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))


def bit_strings(bits: int, seed: int, include_all_ones: bool = False) -> dict[str, Tensor]:
    """All strings of bits, (n, bits) int64, shuffled with `seed` and split 90 : 10 : rest.

    The split is the original's: its own shuffle, Python's, of the numbers in order. The string of only ones is left out
    unless asked for, as there.
    """
    numbers = list(range(2**bits - (not include_all_ones)))
    random.Random(seed).shuffle(numbers)
    strings = torch.tensor(numbers)[:, None] >> torch.arange(bits - 1, -1, -1) & 1
    train, validation = math.floor(0.9 * len(strings)), math.floor(0.1 * len(strings))
    parts = strings.split([train, validation, len(strings) - train - validation])
    return dict(zip(SPLITS, parts, strict=True))


class Xor(Dataset):
    """Masked parity: guess one masked symbol of a bit string from the other symbols and the parity.

    Bit 0 is written as one of the symbols 0..z-1, drawn with the probabilities `zero_dst`; bit 1 as one of z..z+o-1,
    with `one_dst`. Then come "even", "odd" and the mask: the vocabulary has z+o+3 symbols. A sequence is the symbols of
    all bits and the parity; one of the bits, never the parity, is masked.

    strings: by split, (n, bits) each, from `bit_strings`.
    """

    length: int
    mask: int
    single_target = True
    draws_at_once = 100

    def __init__(self, zero_dst: Sequence[float], one_dst: Sequence[float], strings: Mapping[str, Tensor]) -> None:
        for name, probabilities in (("zero_dst", zero_dst), ("one_dst", one_dst)):
            check_distribution(name, probabilities)
        self.distributions = (tuple(map(float, zero_dst)), tuple(map(float, one_dst)))
        self.strings = dict(strings)
        self.bits = self.strings["train"].shape[1]
        self.length = self.bits + 1
        self.even = len(zero_dst) + len(one_dst)
        self.mask = self.even + 2
        self.vocabulary = self.even + 3
        # A symbol is the number of thresholds that a uniform draw has reached, counted from the first of its bit.
        most = max(map(len, self.distributions))
        sums = [list(itertools.accumulate(p[:-1])) for p in self.distributions]
        self._thresholds = torch.tensor([row + [math.inf] * (most - 1 - len(row)) for row in sums])
        self._first = torch.tensor([0, len(zero_dst)])

    def batch(self, split: str, generator: torch.Generator) -> Batch:
        """All strings of a split, each with new symbols and a new mask: (n, bits + 1) each."""
        return Batch(*(part[0] for part in self.batches(split, generator, 1)))

    def batches(self, split: str, generator: torch.Generator, number: int) -> Batch:
        strings = self.strings[split]
        uniform = torch.rand(number, len(strings), self.length, generator=generator)
        thresholds = self._thresholds[strings]  # (n, bits, most - 1)
        symbols = self._first[strings] + (uniform[..., : self.bits, None] >= thresholds).sum(-1)
        # A product with a number just below 1 can round up.
        places = (uniform[..., self.bits :] * self.bits).long().clamp(max=self.bits - 1)
        return self._masked(symbols, self._parity(strings).expand(number, -1, -1), places)

    def _parity(self, strings: Tensor) -> Tensor:
        return self.even + strings.sum(-1, keepdim=True) % 2

    def _masked(self, symbols: Tensor, parity: Tensor, places: Tensor) -> Batch:
        whole = torch.cat([symbols, parity], -1)
        targets = torch.full_like(whole, IGNORED).scatter(-1, places, whole.gather(-1, places))
        return Batch(whole.scatter(-1, places, self.mask), targets)

    # --- without chance ------------------------------------------------------------------------------------

    def enumerate(self, split: str) -> tuple[Batch, Tensor]:
        """Every example that can be drawn, (M, bits + 1) each, and its probability (M,) in float64; these sum to 1.

        A mean with these weights is what the mean over ever more draws tends to.
        """
        strings = self.strings[split]
        most = max(map(len, self.distributions))
        chance = torch.zeros(2, most, dtype=torch.float64)
        for bit, probabilities in enumerate(self.distributions):
            chance[bit, : len(probabilities)] = torch.tensor(probabilities, dtype=torch.float64)
        choices = torch.cartesian_prod(*[torch.arange(most)] * self.bits).reshape(-1, self.bits)
        weights = chance[strings[:, None], choices].prod(-1)  # (n, most ** bits)
        row, choice = weights.nonzero(as_tuple=True)
        symbols = self._first[strings[row]] + choices[choice]
        places = torch.arange(self.bits).repeat(len(row))[:, None]
        symbols, parity = (part.repeat_interleave(self.bits, 0) for part in (symbols, self._parity(strings[row])))
        weight = weights[row, choice].repeat_interleave(self.bits) / (len(strings) * self.bits)
        return self._masked(symbols, parity, places), weight

    def optimum(self, split: str | None = None) -> dict[str, float]:
        """Accuracy and cross-entropy (nats) of the true posterior, which reads the masked bit off the parity.

        split: with the share of ones of its strings; None: with as many ones as zeros, as the published values have it.
        """
        ones = 0.5 if split is None else self.strings[split].double().mean().item()
        accuracy = cross_entropy = 0.0
        for share, probabilities in zip((1 - ones, ones), self.distributions, strict=True):
            accuracy += share * max(probabilities)
            cross_entropy += share * sum(-p * math.log(p) for p in probabilities if p)
        return {"accuracy": accuracy, "cross_entropy": cross_entropy}
