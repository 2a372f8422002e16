"""A lens in a model's own forward pass, by plain hooks of torch: read what it makes of the states, replace, steer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from linear_shortcuts.files import InputError
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states import provenance


@contextmanager
def hook(
    lens: Lens, model: LanguageModel, *, replace: bool = False, steer: Tensor | None = None
) -> Iterator[list[Tensor]]:
    """While this lasts, the model's forward passes pass through a lens; however it is called, `generate` too.

    Gives a list, to which every pass adds what the lens makes of the states of its source layer, (batch, tokens, d).
    replace: put that in the place of the states of its target layer: the blocks between no longer count.
    steer: (d,), a direction among the states of the target layer, such as a row of the model's head: it is carried
        back through the transpose of the lens and added to the states of the source layer, along with which the
        guess moves by `lens.matrix @ lens.matrix.T @ steer`.

    Raises `InputError` for a lens of another model, or a direction of another width.
    """
    if lens.card:
        provenance.check_model(lens.card, model, f"the lens {lens.name}")
    if not 0 <= lens.source < lens.target <= model.layers:
        raise InputError(f"{lens} does not fit {model.name}, whose layers are 0..{model.layers}")
    if steer is not None and steer.shape != (model.width,):
        raise InputError(f"steer has shape {tuple(steer.shape)}; a direction of {model.name} has ({model.width},)")
    seen: list[Tensor] = []
    push = None if steer is None else steer if lens.matrix is None else lens.matrix.to(steer).T @ steer

    def enter(
        block: nn.Module, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states = args[0] if args else options["hidden_states"]
        if push is not None:
            states = states + push.to(states)
        seen.append(lens.transport(states))
        return ((states, *args[1:]), options) if args else (args, {**options, "hidden_states": states})

    def leave(block: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return (seen[-1], *output[1:]) if isinstance(output, tuple) else seen[-1]

    handles = [model.blocks[lens.source].register_forward_pre_hook(enter, with_kwargs=True)]
    if replace:
        handles.append(model.blocks[lens.target - 1].register_forward_hook(leave))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
