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
from linear_shortcuts.models.families import SOFT_CAPS, Family, adjust, longest
from linear_shortcuts.models.verification import TOKENS, first_logits


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
    family = _with_positions(network, family, calls)
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
    ways = list(_ways(end.gave, after, logits))
    for head, state in ways:
        found = replace(family, blocks=blocks, head=head, **_after_head(config, state, logits))
        if head and state is not None and _same(adjust(found, config, state), logits, exactly=False):
            return found
    head = max((head for head, _ in ways), key=len)
    where = f"after {head[-1]}" if head else f"after the last of {blocks}"
    raise _not_found(path, f"its way from the last block to the logits: {where} no module leads on to them")


def _with_positions(network: Any, family: Family, calls: list[_Call]) -> Family:
    """The family with where its position numbers begin: after the padding token's id, as in RoBERTa, or elsewhere.

    Only a table tells: its rows from the first token's on are the longest sentence. Some tables have rows to spare.
    """
    config = network.config.get_text_config()
    limit = longest(network.config, family)
    for call in calls:
        table = network.get_submodule(call.path)
        if limit is None or not isinstance(table, nn.Embedding) or call.read is None or call.read.numel() != TOKENS:
            continue
        numbers = call.read.flatten().long().cpu()
        first = int(numbers[0])
        lost = limit - (table.num_embeddings - first)
        if lost <= 0 or not torch.equal(numbers, torch.arange(first, first + TOKENS)):
            continue
        if lost == (getattr(config, "pad_token_id", None) or 0) + 1:
            return replace(family, positions_follow_padding=True)
        return replace(family, positions_lost=lost)
    return family


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
        logits = first_logits(network, family, path)
    return calls, logits


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


def _ways(
    state: Tensor | None, calls: list[_Call], logits: Tensor, head: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Tensor | None]]:
    """The ways on from a state: the outermost modules of each, one reading what the other gave, and where it ends.

    There may be several, for a pooler reads the last block too.
    """
    leads_on = False
    for number, call in enumerate(calls):
        # Of those that read the state the outermost began first; one that changes nothing is passed over.
        if _same(state, logits) or not _same(call.read, state) or _same(call.gave, state):
            continue
        leads_on = True
        outside = [later for later in calls[number + 1 :] if not later.path.startswith(f"{call.path}.")]
        yield from _ways(call.gave, outside, logits, (*head, call.path))
    if not leads_on:
        yield head, state


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
