"""Attention by relative position, for a BERT to stand beside lambda layers whose windows are relative too.

Queries and keys are turned by an angle that grows with their position, so that their product depends on the distance
of two tokens (Su et al., 2021, RoFormer, arXiv:2104.09864). It has no weights. Importing this module makes it known to
transformers as `attn_implementation="rotary"`; the first token is at position 0 in every sentence.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

NAME = "rotary"
BASE = 10_000.0  # of the wavelengths, as in the paper


def angles(tokens: int, width: int) -> Tensor:
    """(tokens, width): by how much the entries of a query or key turn at each position, each angle twice."""
    speeds = BASE ** (-torch.arange(0, width, 2) / width)
    return (torch.arange(tokens)[:, None] * speeds).repeat(1, 2)


def rotary_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention of (B, heads, N, width), as every implementation of transformers takes it."""
    turns = angles(query.shape[-2], query.shape[-1]).to(query)[None]
    query, key = apply_rotary_pos_emb(query, key, turns.cos(), turns.sin())
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(NAME, rotary_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
