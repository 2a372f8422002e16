"""`generate` of a packaged checkpoint: self-speculation, for whoever has transformers and not this library.

Beside the checkpoint this file is `custom_generate/generate.py`, with the modules it needs and the fitted maps.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.utils import cached_file

from linear_shortcuts.decoding.choice import greedy
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.speculation import Draft, speculative
from linear_shortcuts.decoding.stack import Affine, Stack

MAPS = "custom_generate/shortcuts.safetensors"


@torch.no_grad()
def generate(
    inputs: Tensor | None = None,
    generation_config: Any = None,
    *,
    model: Any,
    input_ids: Tensor | None = None,
    max_new_tokens: int | None = None,
    max_length: int | None = None,
    do_sample: bool | None = None,
    streamer: Any = None,
    attention_mask: Tensor | None = None,
    **others: Any,
) -> Tensor:
    """The tokens of `model.generate(inputs, do_sample=False)`, (1, prompt + new), sooner.

    model: loaded from the folder or repository that this comes with. Raises `ValueError` for several prompts or
    padding, and for sampling, which this does not do.
    """
    ids = inputs if inputs is not None else input_ids
    config = generation_config or model.generation_config
    if ids is None or len(ids) != 1 or (attention_mask is not None and not bool(attention_mask.all())):
        raise ValueError("one prompt without padding is continued at a time; give input_ids of shape (1, tokens)")
    if config.do_sample if do_sample is None else do_sample:
        raise ValueError("tokens are not drawn here; give do_sample=False, or load the model without its own generate")
    prompt = ids[0].tolist()
    new = config.max_new_tokens if max_new_tokens is None else max_new_tokens
    if new is None:
        new = max(1, (max_length or config.max_length or 20) - len(prompt))
    stops = config.eos_token_id
    stops = set() if stops is None else set(stops if isinstance(stops, list) else [stops])
    stack, draft, settings = _load(model)
    made: list[int] = []
    if streamer is not None:
        streamer.put(ids.cpu())
    for step in speculative(stack, prompt, greedy, draft, settings["costs"], settings["longest"]):
        for token in step.tokens[: new - len(made)]:
            made.append(token)
            if streamer is not None:
                streamer.put(torch.tensor([token]))
            if token in stops:
                break
        if len(made) == new or made[-1] in stops:
            break
    if streamer is not None:
        streamer.end()
    return torch.cat([ids, ids.new_tensor([made])], dim=1)


def _load(model: Any) -> tuple[Stack, Draft, dict[str, Any]]:
    """What the maps' file says of the model, read once and kept with it."""
    known = getattr(model, "_linear_shortcuts", None)
    if known is None:
        with safe_open(cached_file(model.name_or_path, MAPS), "pt") as file:
            settings = json.loads(file.metadata()["settings"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        stack = Stack(model, settings["blocks"], settings["head"], settings["scale"], settings["cap"])
        levels = [
            Affine(*(tensors[f"draft.{level}.{part}"].to(model.device, model.dtype) for part in ("weight", "bias")))
            for level in range(settings["levels"])
        ]
        short_list = ShortList.of(stack, tensors["short_list"])
        draft = Draft(settings["draft_layer"], settings["draft_middle"], levels, short_list, settings["width"])
        known = stack, draft, settings
        model._linear_shortcuts = known
    return known
