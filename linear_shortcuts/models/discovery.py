"""Find the blocks, the final norm and the head of a model that no family describes, by watching it run once.

The blocks are the list of `num_hidden_layers` modules that hand their states on; the way from there to the logits is
followed from module to module, by what each one reads. What is found is verified: decoding h_L with it gives the
model's own logits, large ones too, and neither padding nor, in a causal model, a later token changes them. The parts of
a block are not looked for, so that sub-modules of such a model have no stand-ins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.files import InputError
from linear_shortcuts.models.families import Family, adjust

# What the library calls the cap on logits: Gemma and most others, RecurrentGemma, xLSTM.
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
TOKENS = 6  # a few are enough to tell one tensor from another
LARGE = 1000.0  # a logit far beyond every cap in use, which are 15 to 50, and within float16


@dataclass(eq=False)
class _Call:
    """One call of one module: its path, what it read and what it gave."""

    path: str
    read: Tensor | None
    gave: Tensor | None = None


def discover(network: Any, family: Family, path: str | Path) -> Family:
    """Complete a family of which only `causal` is known.

    Raises `InputError` that says what could not be found, or why the model cannot be used in batches.
    """
    config = network.config.get_text_config()
    wanted = getattr(config, "num_hidden_layers", None)
    calls, logits = _trace(network, family, path)
    if _positions_follow_padding(calls, config):
        family = replace(family, positions_follow_padding=True)
    lists = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == wanted
    }
    chained = [name for name in lists if _hand_on(calls, name, len(lists[name]))]
    if not chained:
        raise _not_found(
            path,
            f"its blocks: of {len(lists)} lists of num_hidden_layers = {wanted} modules, in none does each module "
            "read what the one before it left",
        )
    blocks = min(chained, key=lambda name: name.count("."))  # the outermost
    end = _calls_of(calls, f"{blocks}.{len(lists[blocks]) - 1}")[-1]
    # What is inside the last block began after it but is no way on from it.
    after = [call for call in calls[calls.index(end) + 1 :] if not call.path.startswith(f"{end.path}.")]
    head, state = _follow(end.gave, after, logits)
    found = replace(family, blocks=blocks, head=tuple(head), **_after_head(config, state, logits))
    if not head or state is None or not _same(adjust(found, config, state), logits, exactly=False):
        where = f"after {head[-1]}" if head else f"after the last of {blocks}"
        raise _not_found(path, f"its way from the last block to the logits: {where} no module leads on to them")
    if not _holds_for_large_logits(network, found, config, state):
        raise _not_found(
            path, f"what it does to the logits after {head[-1]}: neither a constant factor nor a cap of {SOFT_CAPS}"
        )
    _verify_batch(network, found, path)
    return found


def _positions_follow_padding(calls: list[_Call], config: Any) -> bool:
    """Whether the first token was given the position after the padding token's id, as in RoBERTa."""
    pad = getattr(config, "pad_token_id", None)
    if pad is None or pad < 0:
        return False
    positions = torch.arange(pad + 1, pad + 1 + TOKENS)
    read = [call.read.flatten().cpu() for call in calls if call.read is not None and not call.read.is_floating_point()]
    return any(torch.equal(numbers.long(), positions) for numbers in read)


def _holds_for_large_logits(network: Any, found: Family, config: Any, state: Tensor) -> bool:
    """Whether the declared factor or cap still gives the model's logits once the head's output is made large.

    A cap leaves small logits nearly as they are, where it passes for a factor.
    """
    times = LARGE / max(1.0, float(state.abs().max()))
    head = network.get_submodule(found.head[-1])
    handle = head.register_forward_hook(lambda module, args, output: output * times)
    try:
        logits = _logits(network, found, _ids(network))
    finally:
        handle.remove()
    return _same(adjust(found, config, state * times), logits, exactly=False)


def _verify_batch(network: Any, found: Family, path: str | Path) -> None:
    """Raise `InputError` if a sentence gives other logits once a longer one pads it.

    Of a causal model the padding is not masked: it is a later token like any other, and must not be seen.
    """
    ids, length = _ids(network), TOKENS // 2
    batch, mask = ids.repeat(2, 1), torch.ones(2, TOKENS, dtype=torch.int64, device=ids.device)
    batch[1, length:], mask[1, length:] = 0, 0
    padded = _logits(network, found, batch, None if found.causal else mask)
    # The rows of one batch are computed alike; between two shapes rounding alone may differ.
    alone = padded[:1, :length] if found.causal else _logits(network, found, ids[:, :length])
    difference = float((padded[1:, :length] - alone).abs().max() / alone.abs().max())
    if difference <= max(1e-3, 16 * torch.finfo(network.dtype).eps):
        return
    if found.causal:
        raise InputError(f"{path} loads as a causal model but its tokens see those behind them; it is not supported")
    raise InputError(
        f"{path} gives other logits, by {difference:.1g} of the largest, where padding follows a sentence; it cannot "
        "be used in batches and is not supported"
    )


def _after_head(config: Any, state: Tensor | None, logits: Tensor) -> dict[str, Any]:
    """What happens to the head's output: some models cap it, some multiply it by a constant."""
    for cap in SOFT_CAPS:
        if getattr(config, cap, None) is not None:
            return {"soft_cap": cap}
    if state is None or state.shape != logits.shape or _same(state, logits):
        return {}
    ours, theirs = state.double(), logits.double()
    return {"scale": float((ours * theirs).sum() / (ours * ours).sum())}


def _not_found(path: str | Path, what: str) -> InputError:
    return InputError(
        f"{path} is of no family in linear_shortcuts/models/families.py, and a run of it did not show {what}"
    )


def _trace(network: Any, family: Family, path: str | Path) -> tuple[list[_Call], Tensor]:
    """Every call of every module on a few tokens, in the order in which they began, and the logits."""
    calls: list[_Call] = []
    with _recording(network, calls):
        try:
            logits = _logits(network, family, _ids(network))
        except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
            reason = " ".join(str(error).split())[:150]
            raise InputError(
                f"{path} does not give logits for token ids alone ({reason}); it is not supported"
            ) from error
    return calls, logits


def _ids(network: Any) -> Tensor:
    """Token ids (1, TOKENS): odd ones, lest they be taken for positions, beyond the usual ids of control tokens."""
    vocabulary = network.config.get_text_config().vocab_size
    return torch.arange(7, 7 + 2 * TOKENS, 2, device=network.device)[None] % vocabulary


@torch.inference_mode()
def _logits(network: Any, family: Family, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """The model's own logits (batch, tokens, V) of token ids (batch, tokens)."""
    options = {"use_cache": False} if family.causal else {}
    return network(input_ids=ids, attention_mask=mask, **options).logits


@contextmanager
def _recording(network: nn.Module, calls: list[_Call]) -> Iterator[None]:
    handles = []
    for path, module in network.named_modules():
        open_calls: list[_Call] = []

        def begin(_: nn.Module, args: Any, kwargs: Any, path: str = path, opened: list[_Call] = open_calls) -> None:
            opened.append(_Call(path, _first_tensor((*args, *kwargs.values()))))
            calls.append(opened[-1])

        def end(_: nn.Module, args: Any, output: Any, opened: list[_Call] = open_calls) -> None:
            opened.pop().gave = _first_tensor(output if isinstance(output, (tuple, list)) else (output,))

        handles += [module.register_forward_pre_hook(begin, with_kwargs=True), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(values: Sequence[Any]) -> Tensor | None:
    return next((value for value in values if isinstance(value, Tensor)), None)


def _calls_of(calls: list[_Call], path: str) -> list[_Call]:
    return [call for call in calls if call.path == path]


def _hand_on(calls: list[_Call], blocks: str, number: int) -> bool:
    """Whether each module of a list runs once and reads what the one before it gave."""
    runs = [_calls_of(calls, f"{blocks}.{index}") for index in range(number)]
    if any(len(run) != 1 for run in runs):
        return False
    return all(_same(this[0].gave, after[0].read) for this, after in pairwise(runs))


def _follow(state: Tensor | None, calls: list[_Call], logits: Tensor) -> tuple[list[str], Tensor | None]:
    """The outermost modules that lead from a state to the logits, one reading what the other gave."""
    head: list[str] = []
    for call in calls:
        if _same(state, logits):
            break
        # Of those that read the state the outermost began first; one that changes nothing is passed over.
        if _same(call.read, state) and not _same(call.gave, state):
            head.append(call.path)
            state = call.gave
    return head, state


def _same(one: Tensor | None, other: Tensor | None, *, exactly: bool = True) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    if not (one.is_floating_point() and other.is_floating_point()):
        return False
    # A model may change the precision between two modules: compare in the lower of the two.
    dtype = min(one.dtype, other.dtype, key=lambda dtype: torch.finfo(dtype).bits)
    one, other = one.to(device=other.device, dtype=dtype), other.to(dtype)
    if exactly:
        return torch.equal(one, other)
    rounding = max(1e-4, 4 * torch.finfo(dtype).eps)
    return torch.allclose(one, other, rtol=rounding, atol=rounding * float(other.abs().max()))
