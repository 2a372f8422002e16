"""Is what is said of a model true of it? A few tokens show it, as it loads and before anything is recorded.

A family describes an architecture, but one checkpoint may set a switch that changes what is computed. So every model,
declared or read by structure, is held against its own logits, large ones too, against padding and, if it is causal,
against later tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.models.families import SOFT_CAPS, Family
from linear_shortcuts.models.language_model import LanguageModel, Watcher

TOKENS = 6  # a few are enough to tell one tensor from another
LARGE = 1000.0  # a logit far beyond every cap in use, which are 15 to 50, and within float16


def verify(model: LanguageModel, path: str | Path) -> None:
    """Raise `InputError` if the model does not do what its family says. Costs five passes over six tokens."""
    network, family = model.network, model.family
    ends = _Ends(model.layers)
    with model.watch(ends):
        logits = first_logits(network, family, path)
    if not torch.isfinite(logits).all():
        raise InputError(f"{path} gives {_what(family)} that are not finite; check its weights and dtype")
    for layer, states in ends.states.items():
        if states.shape != (1, TOKENS, model.width):
            shape = " x ".join(map(str, states.shape[2:]))
            raise InputError(
                f"{path} has states of {shape} numbers a token at layer {layer}, not of hidden_size = {model.width}: a "
                "stream of several parts is not supported"
            )
    last = ends.states[model.layers]
    with torch.inference_mode():
        apart = difference(model.finish(last) if family.headless else model.decode(last), logits)
    if apart > _rounding(network):
        read = "come of" if family.headless else "its head reads off"
        raise InputError(
            f"{path} gives other {_what(family)}, by {apart:.1g} of the largest, than {read} the last block; its "
            f"configuration changes what a model of type {network.config.model_type} does, so it is not supported"
        )
    if not family.headless and not _holds_for_large_logits(model, last):
        raise InputError(
            f"what {path} does to the logits after {family.head[-1]} is neither a constant factor nor a cap of "
            f"{', '.join(SOFT_CAPS)}; it is not supported"
        )
    _verify_batch(network, family, path)


class _Ends(Watcher):
    """Keeps the states of the first and the last layer."""

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self.states: dict[int, Tensor] = {}

    def state(self, layer: int, states: Tensor) -> None:
        if layer in (0, self.layers):
            self.states[layer] = states


def _holds_for_large_logits(model: LanguageModel, last: Tensor) -> bool:
    """Whether h_L (1, tokens, d) is still decoded to the model's own logits once the head's output is made large.

    A cap leaves small logits nearly as they are, where it passes for a factor.
    """
    head = model.network.get_submodule(model.family.head[-1])
    times = 1.0

    def enlarge(module: Any, args: Any, output: Tensor) -> Tensor:
        nonlocal times
        times = times if times != 1 else LARGE / max(1.0, float(output.abs().max()))
        return output * times

    handle = head.register_forward_hook(enlarge)
    try:
        with torch.inference_mode():
            decoded = model.decode(last)
        logits = logits_of(model.network, model.family, ids_of(model.network))
    finally:
        handle.remove()
    return difference(decoded, logits) <= _rounding(model.network)


def _verify_batch(network: Any, family: Family, path: str | Path) -> None:
    """Raise `InputError` if a sentence gives other logits once a longer one pads it.

    Of a causal model the padding is not masked: it is a later token like any other, and must not be seen.
    """
    ids, length = ids_of(network), TOKENS // 2
    batch, mask = ids.repeat(2, 1), torch.ones(2, TOKENS, dtype=torch.int64, device=ids.device)
    batch[1, length:], mask[1, length:] = 0, 0
    padded = logits_of(network, family, batch, None if family.causal else mask)
    # The rows of one batch are computed alike; between two shapes rounding alone may differ.
    alone = padded[:1, :length] if family.causal else logits_of(network, family, ids[:, :length])
    apart = difference(padded[1:, :length], alone)
    if apart <= _rounding(network):
        return
    if family.causal:
        raise InputError(f"{path} loads as a causal model but its tokens see those behind them; it is not supported")
    raise InputError(
        f"{path} gives other {_what(family)}, by {apart:.1g} of the largest, where padding follows a sentence; it "
        "cannot be used in batches and is not supported"
    )


def ids_of(network: Any) -> Tensor:
    """Token ids (1, TOKENS): odd ones, lest they be taken for positions, beyond the usual ids of control tokens."""
    vocabulary = network.config.get_text_config().vocab_size
    return torch.arange(7, 7 + 2 * TOKENS, 2, device=network.device)[None] % vocabulary


def first_logits(network: Any, family: Family, path: str | Path) -> Tensor:
    """The model's logits (1, TOKENS, V) of `ids_of`; `InputError` if it cannot be run so."""
    try:
        return logits_of(network, family, ids_of(network))
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path} does not give logits for token ids alone ({reason}); it is not supported") from error


@torch.inference_mode()
def logits_of(network: Any, family: Family, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """The model's own logits (batch, tokens, V) of token ids (batch, tokens); without a head, its states (…, d)."""
    options = {"use_cache": False} if family.causal else {}
    output = network(input_ids=ids, attention_mask=mask, **options)
    return output.last_hidden_state if family.headless else output.logits


def _what(family: Family) -> str:
    return "states" if family.headless else "logits"


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors of one shape, relative to the largest magnitude of the second."""
    one, other = one.float().cpu(), other.float().cpu()
    return float((one - other).abs().max() / other.abs().max().clamp(min=torch.finfo(torch.float32).tiny))


def _rounding(network: Any) -> float:
    """What rounding alone may do to a relative difference."""
    return max(1e-3, 16 * torch.finfo(network.dtype).eps)
