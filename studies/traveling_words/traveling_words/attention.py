"""The weights of a block's attention, head by head, and the attention that they give.

Row vectors throughout, y = x W + b. Each head compares tokens through W_QK = s Wq Wk^T, with s = 1 / sqrt(d_head) in
most models, and adds to the stream what W_VO = Wv Wo makes of them; both are d x d of rank at most d_head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.files import InputError
from linear_shortcuts.models import LanguageModel, Watcher
from traveling_words.geometry import Norm, precision, read_norm

TOLERANCE = 1e-3  # relative; a wrong reading of the weights is off by more than 0.1


@dataclass(frozen=True)
class Layout:
    """Where an attention module keeps its projections, as dotted paths inside the module.

    query, key, value: three modules, or one path three times where they are joined side by side.
    output: the projection of the heads' results.
    transposed: weights are stored (in, out), as GPT-2's are, instead of (out, in).
    scaled: scores are multiplied by the module's `scaling`; otherwise by 1.
    rotary: queries and keys are turned by their positions, so that scores depend on the distance of the tokens.
    """

    query: str
    key: str
    value: str
    output: str
    transposed: bool = False
    scaled: bool = True
    rotary: bool = False


_SEPARATE = Layout("q_proj", "k_proj", "v_proj", "o_proj", rotary=True)

# By the model type of the configuration. Models that norm or clip queries and keys have no W_QK and are left out.
LAYOUTS: Mapping[str, Layout] = {
    "gpt2": Layout("c_attn", "c_attn", "c_attn", "c_proj", transposed=True),
    "gpt_neo": Layout(
        "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj", scaled=False
    ),
    "opt": Layout("q_proj", "k_proj", "v_proj", "out_proj"),
    "llama": _SEPARATE,
    "mistral": _SEPARATE,
    "qwen2": _SEPARATE,
    "starcoder2": _SEPARATE,
}  # fmt: skip


@dataclass(frozen=True)
class Attention:
    """The attention of one block, H heads of width r in a model of width d, in double precision.

    norm: what the block applies to the stream first.
    query, key, value: (H, d, r), with biases (H, r); where keys and values are shared they are repeated for each head.
    output: (H, r, d), with one bias (d,) for all heads. Missing biases are 0.
    scale: of the scores.
    frequencies: (r / 2,), by which position m turns the pairs of coordinates of queries and keys, or None.
    """

    norm: Norm
    query: Tensor
    query_bias: Tensor
    key: Tensor
    key_bias: Tensor
    value: Tensor
    value_bias: Tensor
    output: Tensor
    output_bias: Tensor
    scale: float
    frequencies: Tensor | None

    @property
    def heads(self) -> int:
        return len(self.query)

    def qk_factors(self, distance: int = 0) -> tuple[Tensor, Tensor]:
        """A, B (H, d, r) with W_QK = A B^T, for keys that stand `distance` tokens before the query.

        Only with rotary positions does it matter: R being a turn by the distance, W_QK is then s Wq R Wk^T.
        """
        return self.query * self.scale, self._turn(self.key, torch.tensor([-distance], device=self.key.device))

    @property
    def vo_factors(self) -> tuple[Tensor, Tensor]:
        """A, B (H, d, r) with W_VO = A B^T."""
        return self.value, self.output.mT.contiguous()

    @property
    def value_bias_out(self) -> Tensor:
        """b_v Wo, (H, d): what each head adds whatever it attends to."""
        return (self.value_bias[:, None] @ self.output).squeeze(1)

    def scores(self, x: Tensor) -> Tensor:
        """Attention scores (H, n, n) of normed states (n, d), before mask and softmax; rows are queries."""
        positions = torch.arange(len(x), device=x.device)
        queries = self._turn(x @ self.query + self.query_bias[:, None], positions)
        keys = self._turn(x @ self.key + self.key_bias[:, None], positions)
        return self.scale * queries @ keys.mT

    def __call__(self, x: Tensor) -> Tensor:
        """Causal attention of normed states (n, d): the sum over heads of softmax(scores) (x W_VO + b_v Wo) + b_o."""
        later = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1)
        weights = self.scores(x).masked_fill(later, -torch.inf).softmax(-1)
        updates = x @ self.value @ self.output + self.value_bias_out[:, None]
        return (weights @ updates).sum(0) + self.output_bias

    def _turn(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Rotary positions (Su et al. 2021, arXiv:2104.09864), coordinate i paired with i + r / 2 as in Llama."""
        if self.frequencies is None:
            return vectors
        angles = positions[:, None] * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        first, second = vectors.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def read_attention(model: LanguageModel, block: int) -> Attention:
    """The attention of block 0..L-1, read from the weights.

    Raises `InputError` for a model whose attention has no W_QK that weights alone give, or that no layout describes.
    """
    config = model.network.config.get_text_config()
    layout = LAYOUTS.get(config.model_type)
    steps = model.family.steps
    if layout is None or [step.part for step in steps[:2]] != ["norm", "attention"]:
        raise InputError(
            f"{model.name} is of type {config.model_type!r}, whose attention this study cannot read as matrices on "
            f"word vectors; choose a model with a norm before attention of type {', '.join(LAYOUTS)}"
        )
    norm_path, attention_path = (step.modules[0] for step in steps[:2])
    module: Any = model.blocks[block].get_submodule(attention_path)
    norm = read_norm(model.blocks[block].get_submodule(norm_path))
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    width = model.width
    weights = [_read(module, path, layout, width) for path in (layout.query, layout.key, layout.value)]
    if layout.query == layout.key:
        weights = [(weight[:, part], bias[part]) for part, (weight, bias) in zip(_thirds(width), weights, strict=True)]
    (query, query_bias), (key, key_bias), (value, value_bias) = (
        _by_head(weight, bias, number, heads)
        for (weight, bias), number in zip(weights, (heads, shared, shared), strict=True)
    )
    inner = query.shape[-1]
    output, output_bias = _read(module, layout.output, layout, heads * inner)
    return Attention(
        norm, query, query_bias, key, key_bias, value, value_bias,
        output.reshape(heads, inner, width), output_bias,
        scale=float(module.scaling) if layout.scaled else 1.0,
        frequencies=_frequencies(model) if layout.rotary else None,
    )  # fmt: skip


def _thirds(width: int) -> list[slice]:
    return [slice(part * width, (part + 1) * width) for part in range(3)]


def _read(module: nn.Module, path: str, layout: Layout, inputs: int) -> tuple[Tensor, Tensor]:
    """Weight (in, out) and bias (out,) of a projection, in double precision."""
    projection = module.get_submodule(path)
    parameters = dict(projection.named_parameters())
    weight = parameters["weight"].detach()
    weight = weight.to(precision(weight.device))
    weight = weight if layout.transposed else weight.T
    assert weight.shape[0] == inputs
    bias = parameters.get("bias")
    return weight, weight.new_zeros(weight.shape[1]) if bias is None else bias.detach().to(weight)


def _by_head(weight: Tensor, bias: Tensor, stored: int, heads: int) -> tuple[Tensor, Tensor]:
    """(d, stored * r) and (stored * r,) as (heads, d, r) and (heads, r); neighbouring heads share what is stored."""
    per_head = weight.reshape(len(weight), stored, -1).transpose(0, 1)
    times = heads // stored
    return (
        per_head.repeat_interleave(times, dim=0).contiguous(),
        bias.reshape(stored, -1).repeat_interleave(times, dim=0),
    )


def _frequencies(model: LanguageModel) -> Tensor:
    rotary: Any = model.network.base_model.rotary_emb
    if rotary.attention_scaling != 1:
        raise InputError(
            f"{model.name} scales its rotary positions by {rotary.attention_scaling:g}, which this study cannot read; "
            "choose another model"
        )
    return rotary.inv_freq.to(precision(rotary.inv_freq.device))


# --- is the reading true? ----------------------------------------------------------------------------------


def check_reading(model: LanguageModel, ids: Tensor, readings: Mapping[int, Attention]) -> float:
    """The largest difference, over some blocks, between the attention that the weights give and the model's own.

    ids: (tokens,), a text to try. Relative to the largest output of the model's attention.
    Raises `InputError` if the two disagree, as they do in a model that clips or norms queries and keys.
    """
    seen = _Seen()
    with torch.inference_mode(), model.watch(seen):
        model.encode(ids[None].to(model.device), None)
    worst = 0.0
    for block, attention in readings.items():
        theirs = seen.outputs[block].to(attention.query)
        ours = attention(attention.norm(seen.states[block]))
        worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()))
    if not worst < max(TOLERANCE, 8 * torch.finfo(model.network.dtype).eps):
        raise InputError(
            f"{model.name}: attention from the weights of its heads differs from the model's own by {worst:.1g} of its "
            "size; the model does more than its layout says, so choose another"
        )
    return worst


class _Seen(Watcher):
    """The state before each block and what its attention made of it, (tokens, d)."""

    def __init__(self) -> None:
        self.states: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}

    def state(self, layer: int, states: Tensor) -> None:
        self.states[layer] = states[0]

    def attention_output(self, block: int, states: Tensor) -> None:
        self.outputs[block] = states[0]
