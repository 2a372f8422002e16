"""What an exit costs in floating-point operations, counted honestly: a check is a read-out, and a read-out is dear.

One multiply-add is two operations. Only matrix products are counted; norms, softmax and activations are left out, as
is usual. A causal model's blocks are charged for the sampled token, as if every block had seen the earlier ones; in
generation the blocks that an exit skips would still owe theirs to later tokens. A window that lets a block see only
the last tokens is not taken into account. Of a mixture of experts all weight matrices are counted, though a token uses
but some. `tests/test_cost.py` compares the count with torch's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.models.language_model import LanguageModel
from linear_shortcuts.models.verification import ids_of


@dataclass(frozen=True)
class Cost:
    """Operations per sample: a block depends on the sample's length, the rest does not.

    blocks: (L, n) each block, for blocks may differ. For a causal model the sampled token alone, its past being cached;
        for a masked model the whole sentence, because every position feeds every other.
    head: one read-out at one position. jump: one product with a layer map.
    listed: the part of the head's work that is left where an exit before the last layer chooses among few tokens only.
    """

    blocks: Tensor
    head: float
    jump: float
    listed: float = 1.0

    def exits(self, exit_layers: Tensor, layers: int, mapping: str, *, checks: bool) -> Tensor:
        """Operations (n,) of leaving at the given layers (n,), 1..L (0: the embeddings are read out).

        checks: whether confidence was read out at every layer from 1 to the exit (early exit) or only there (fixed).
        The read-out of the exit itself is its prediction and is not paid twice; at layer L no map is applied.
        """
        last = (exit_layers == layers).long()
        read_outs = last + self.listed * ((exit_layers if checks else torch.ones_like(exit_layers)) - last)
        jumps = exit_layers.clamp(max=layers - 1) if checks else (exit_layers < layers).long()
        jump = self.jump if mapping == "mat" else 0.0
        return self._up_to(exit_layers) + read_outs * self.head + jumps * jump

    def full(self, layers: int) -> Tensor:
        """Operations (n,) of the full model: all blocks and one read-out."""
        return self.blocks[:layers].sum(dim=0) + self.head

    def _up_to(self, exit_layers: Tensor) -> Tensor:
        """Operations (n,) of the blocks up to the given layers (n,)."""
        none = torch.zeros_like(self.blocks[:1])
        return torch.cat([none, self.blocks.cumsum(dim=0)]).gather(0, exit_layers[None])[0]


def count(model: LanguageModel, lengths: Tensor, positions: Tensor, listed: int | None = None) -> Cost:
    """The cost of one model on n samples of `lengths` (n,) tokens, read at `positions` (n,).

    listed: tokens that exits before the last layer choose among; None: all.
    """
    with _calls(model) as called, torch.inference_mode():
        model.encode(ids_of(model.network), None)
    per_token = torch.tensor([[2.0 * _block_weights(model, block, called)] for block in model.blocks]).double()
    heads = torch.tensor([[float(_heads_width(model, block))] for block in range(model.layers)]).double()
    if model.family.causal:
        # scores with, and a weighted sum of, the t + 1 tokens seen so far
        blocks = per_token + 4 * heads * (positions.double() + 1)
    else:
        n = lengths.double()
        meeting = 4 * heads * n if model.family.position_lambdas is None else _lambdas(model.network.config, n)
        blocks = n * (per_token + meeting)
    modules = [model.network.get_submodule(path) for path in model.family.head]
    head, part = sum(map(_weights, modules)), 1.0
    if listed is not None and modules:
        rows, width = [weight for weight in modules[-1].parameters() if weight.ndim == 2][-1].shape  # of the tokens
        part = 1 - max(0, rows - listed) * width / head
    return Cost(blocks, 2.0 * head, 2.0 * model.width * model.width, part)


@contextmanager
def _calls(model: LanguageModel) -> Iterator[set[nn.Module]]:
    """The modules inside the blocks that are called meanwhile."""
    called: set[nn.Module] = set()
    inside = [module for block in model.blocks for module in block.modules()]
    handles = [module.register_forward_pre_hook(lambda module, args: called.add(module)) for module in inside]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def _heads_width(model: LanguageModel, block: int) -> int:
    """The width of all query heads of a block together; keys and values may be shared among them, scores are not.

    0 for a model without attention, such as a state-space model.
    """
    config = model.network.config.get_text_config()
    if getattr(config, "per_layer_config", None) is not None:  # blocks may differ
        config = config.per_layer_config[block]
    number, head = getattr(config, "num_attention_heads", None), getattr(config, "head_dim", None)
    if not number:
        return 0
    return model.width if head is None else head * number


def _lambdas(config: Any, n: Tensor) -> Tensor:
    """Operations of a lambda layer per token beside its projections, in sentences of n tokens (any shape).

    The token's share of the content lambda and its position lambda, and their products with the queries of all heads.
    """
    k, u, h = config.key_depth, config.intra_depth, config.num_lambda_queries
    v = config.hidden_size // h
    if config.local_context_size is not None:
        context = (2 * n - 1).clamp(max=config.local_context_size)
    elif config.relative_global:
        context = 2 * n - 1  # a window that reaches from either end of the sentence to the other
    else:
        context = torch.ones_like(n) if config.strict_original else n
    return 2 * k * v * (u * (1 + context) + 2 * h)


def _block_weights(model: LanguageModel, block: nn.Module, called: set[nn.Module]) -> int:
    """Entries of the weights that take part: not of pairs of positions, nor of a part that never works alone.

    Such as the attention of a decoder to an encoder that is not there.
    """
    pairs = model.family.position_lambdas
    idle = [part for part in block.children() if called.isdisjoint(part.modules())]
    return _weights(block) - sum(map(_weights, idle)) - (0 if pairs is None else _weights(block.get_submodule(pairs)))


def _weights(module: torch.nn.Module) -> int:
    """Entries of all weights of a module but its vectors: each takes part in one multiply-add per token."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)
