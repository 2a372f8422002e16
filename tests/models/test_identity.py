"""A model is known by what it computes: its weights and its configuration, and nothing else."""

import copy

import tiny
import torch

from linear_shortcuts.models.identity import computing_config, weights_sha256


def test_weights_are_the_same_in_another_precision_that_holds_them_and_others_after_any_change():
    network = tiny.model("gpt2").network
    before = weights_sha256(network)
    assert before == weights_sha256(copy.deepcopy(network).double())
    for name, parameter in network.named_parameters():
        with torch.no_grad():
            kept = parameter.view(-1)[0].item()
            parameter.view(-1)[0] += 1
            assert weights_sha256(network) != before, name
            parameter.view(-1)[0] = kept
    assert weights_sha256(network) == before


def test_statistics_that_are_saved_count_and_those_that_are_not_do_not():
    norm = torch.nn.BatchNorm1d(3)
    before = weights_sha256(norm)
    norm.running_mean += 1
    assert weights_sha256(norm) != before
    mask = torch.nn.Linear(2, 2)
    before = weights_sha256(mask)
    mask.register_buffer("mask", torch.ones(2), persistent=False)
    assert weights_sha256(mask) == before


def test_a_configuration_says_what_is_computed_and_not_how_it_was_made_or_is_shown():
    config = tiny.model("gpt2").network.config
    said = computing_config(config)
    silent, speaking = copy.deepcopy(config), copy.deepcopy(config)
    silent.update({"use_cache": False, "resid_pdrop": 0.3, "initializer_range": 0.5, "architectures": ["X"]})
    speaking.update({"layer_norm_epsilon": 0.1})
    assert computing_config(silent) == said
    assert computing_config(speaking) == said | {"layer_norm_epsilon": 0.1}
