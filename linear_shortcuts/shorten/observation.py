"""What passes through the whole model at the edges of cuts: the rows that corrections are fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_shortcuts.models import LanguageModel, Watcher
from linear_shortcuts.shorten.surgery import Cut, down_projection
from linear_shortcuts.text.article_rows import Row

Progress = Callable[[Iterable[Row]], Iterable[Row]]


@dataclass(frozen=True)
class Passage:
    """What one row left behind, without its first position, whose state is like no other (it is attended to by all).

    states: layer -> (n - 1, d). written: block -> what its down-projection gave, (n - 1, d).
    """

    states: dict[int, Tensor]
    written: dict[int, Tensor]


@torch.inference_mode()
def observe(
    model: LanguageModel,
    rows: Sequence[Row],
    layers: Iterable[int],
    blocks: Iterable[int] = (),
    progress: Progress = iter,
) -> Iterator[Passage]:
    """The passage of each row, of the layers and of the down-projections of the blocks that are asked for."""
    wanted = set(layers)
    downs = {block: down_projection(model, block) for block in sorted(set(blocks))}
    for row in progress(rows):
        passage = Passage({}, {})
        handles = [layer.register_forward_hook(_keep(passage, block)) for block, layer in downs.items()]
        try:
            with model.watch(_States(passage, wanted)):
                model.encode(row.ids[None].to(model.device), None)
        finally:
            for handle in handles:
                handle.remove()
        yield passage


class _States(Watcher):
    def __init__(self, passage: Passage, wanted: set[int]) -> None:
        self.passage, self.wanted = passage, wanted

    def state(self, layer: int, states: Tensor) -> None:
        if layer in self.wanted:
            self.passage.states[layer] = _later(states)


def _keep(passage: Passage, block: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        passage.written[block] = _later(output)

    return hook


def _later(states: Tensor) -> Tensor:
    return states.reshape(-1, states.shape[-1])[1:].float()  # some flatten the batch for their feed-forward part


def cosines(model: LanguageModel, rows: Sequence[Row], cuts: Sequence[Cut], progress: Progress = iter) -> list[float]:
    """For each cut, how little its blocks turn the stream: the mean cosine of h_start and h_end."""
    sums, positions = [0.0] * len(cuts), 0
    layers = {layer for cut in cuts for layer in (cut.start, cut.end)}
    for passage in observe(model, rows, layers, progress=progress):
        for number, cut in enumerate(cuts):
            pair = passage.states[cut.start], passage.states[cut.end]
            sums[number] += float(F.cosine_similarity(*pair, dim=-1).double().sum())
        positions += len(pair[0])
    return [total / positions for total in sums]
