"""New names, one character after the other, from any model of the next character."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from character_embeddings.network import CharacterModel
from character_embeddings.settings import Sampling
from character_embeddings.training import evaluating
from character_embeddings.vocabulary import END_ID, UNKNOWN_ID, Vocabulary

Distribution = Callable[[Tensor], Tensor]  # contexts (n, T) to probabilities (n, V)


def probabilities(network: CharacterModel) -> Distribution:
    """The network as a function from contexts (n, T), as long as its own or longer, to distributions in float64."""

    def distribution(contexts: Tensor) -> Tensor:
        with evaluating(network), torch.inference_mode():
            return network(contexts[:, contexts.shape[1] - network.block_size :]).double().softmax(-1)

    return distribution


def new_name(
    distribution: Distribution, vocabulary: Vocabulary, block_size: int, settings: Sampling, generator: torch.Generator
) -> str:
    """Draw characters until the end symbol comes, or until there are `max_length` letters.

    The end cannot come before `min_length` letters, which is the same as drawing again whenever it does; the unknown
    character never comes. What is left is renormalised.
    """
    context = [END_ID] * block_size
    drawn: list[int] = []
    while len(drawn) < settings.max_length:
        chances = distribution(torch.tensor([context]))[0].clone()
        chances[UNKNOWN_ID] = 0
        if len(drawn) < settings.min_length:
            chances[END_ID] = 0
        character = int(torch.multinomial(chances, 1, generator=generator))
        if character == END_ID:
            break
        drawn.append(character)
        context = [*context[1:], character]
    return vocabulary.decode(drawn)


def new_names(distribution: Distribution, vocabulary: Vocabulary, block_size: int, settings: Sampling) -> list[str]:
    """One name for each of the seeds 0, 1, …"""
    return [
        new_name(distribution, vocabulary, block_size, settings, torch.Generator().manual_seed(seed))
        for seed in range(settings.names)
    ]
