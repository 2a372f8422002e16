"""A small model with fitted lenses and a sentence."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from fitted import publish

from linear_shortcuts import LayerMaps, SubmoduleMaps, load_tokenizer
from linear_shortcuts.lenses import LensSet
from linear_shortcuts.states.extraction import extract


@pytest.fixture(scope="session", params=tiny.FAMILIES)
def small(request, tmp_path_factory):
    model, folder = tiny.model(request.param), tmp_path_factory.mktemp(request.param)
    shard = extract(model, tiny.tokens(model, 150), 0, 150, 500)
    publish(model, shard, folder, 150)
    tiny.save_tokenizer(folder / "tokenizer")
    tokenizer = load_tokenizer(folder / "tokenizer")
    maps = LayerMaps.load(folder / "layers", model)
    lenses = {"id": LensSet.identity(model), "mat": LensSet.of_maps(maps)}
    words = [tokenizer.convert_ids_to_tokens(token) for token in (10, 20, 30, 51, 62)]
    return SimpleNamespace(
        model=model,
        tokenizer=tokenizer,
        maps=maps,
        parts=SubmoduleMaps.load(folder / "submodules", model),
        lenses=lenses,
        text=" ".join(words),
        ids=torch.tensor(tokenizer(" ".join(words))["input_ids"]),
        masked=not model.family.causal,
    )
