"""Folders of fitted maps, as the stages leave them."""

import torch

from linear_shortcuts.files.partial import Partial
from linear_shortcuts.maps.fitting import layer_moments, layer_targets, submodule_moments
from linear_shortcuts.maps.linear_maps import layer_files, submodule_files
from linear_shortcuts.states.provenance import maps_card, states_card


def publish(model, shard, folder, sentences):
    """Fit every map of a model on one shard, into folder/layers and folder/submodules."""
    card = maps_card(states_card(model, {}, "0" * 64, "corpus", "train", sentences), {})
    moments = layer_moments(range(model.layers), [shard], model.layers, "all", torch.device("cpu"))
    with Partial("05", "item", {}, root=folder, code=__file__) as partial:
        for source in range(model.layers):
            targets = layer_targets(source, model.layers, "all")
            partial.save(source, layer_files(source, targets, moments[source].solve().matrices))
        partial.publish(folder / "layers", card)
    with Partial("06", "item", {}, root=folder, code=__file__) as partial:
        for block, steps in submodule_moments(model, range(model.layers), [shard]).items():
            matrices = [step.solve().matrices[0] for step in steps]
            partial.save(block, submodule_files(block, model.family.sources, matrices))
        partial.publish(folder / "submodules", card)
