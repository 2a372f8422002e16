"""Find the blocks, the final norm and the head of a model that no family describes, by watching it run once.

The blocks are the list of `num_hidden_layers` modules that hand their states on; the way from there to the logits is
followed from module to module, by what each one reads. What is found is therefore verified: decoding h_L with it gives
the model's own logits. The parts of a block are not looked for, so that sub-modules of such a model have no stand-ins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shortcuts.errors import InputError
from shortcuts.families import Family, adjust

SOFT_CAP = "final_logit_softcapping"  # what the library calls it wherever a model has it
TOKENS = 6  # a few are enough to tell one tensor from another


@dataclass(eq=False)
class _Call:
    """One call of one module: its path, what it read and what it gave."""

    path: str
    read: Tensor | None
    gave: Tensor | None = None


def discover(network: Any, family: Family, path: str | Path) -> Family:
    """Complete a family of which only `causal` is known.

    Raises `InputError` that says what could not be found.
    """
    config = network.config.get_text_config()
    wanted = getattr(config, "num_hidden_layers", None)
    calls, logits = _trace(network, family, path)
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
    after = calls[calls.index(end) + 1 :]
    head, state = _follow(end.gave, after, logits)
    found = replace(family, blocks=blocks, head=tuple(head), **_after_head(config, state, logits))
    if not head or state is None or not _same(adjust(found, config, state), logits, exactly=False):
        where = f"after {head[-1]}" if head else f"after the last of {blocks}"
        raise _not_found(path, f"its way from the last block to the logits: {where} no module leads on to them")
    return found


def _after_head(config: Any, state: Tensor | None, logits: Tensor) -> dict[str, Any]:
    """What happens to the head's output: some models cap it, some multiply it by a constant."""
    if getattr(config, SOFT_CAP, None) is not None:
        return {"soft_cap": SOFT_CAP}
    if state is None or state.shape != logits.shape or _same(state, logits):
        return {}
    ours, theirs = state.double(), logits.double()
    return {"scale": float((ours * theirs).sum() / (ours * ours).sum())}


def _not_found(path: str | Path, what: str) -> InputError:
    return InputError(f"{path} is of no family in shortcuts/families.py, and a run of it did not show {what}")


def _trace(network: Any, family: Family, path: str | Path) -> tuple[list[_Call], Tensor]:
    """Every call of every module on a few tokens, in the order in which they began, and the logits."""
    calls: list[_Call] = []
    vocabulary = network.config.get_text_config().vocab_size
    ids = torch.arange(1, 1 + TOKENS, device=network.device)[None] % vocabulary
    with _recording(network, calls), torch.inference_mode():
        try:
            logits = network(input_ids=ids, **({"use_cache": False} if family.causal else {})).logits
        except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
            reason = " ".join(str(error).split())[:150]
            raise InputError(
                f"{path} does not give logits for token ids alone ({reason}); it is not supported"
            ) from error
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
            opened.pop().gave = _first_tensor(output if isinstance(output, tuple) else (output,))

        handles += [module.register_forward_pre_hook(begin, with_kwargs=True), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(values: tuple[Any, ...]) -> Tensor | None:
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
