"""A lens in a model's own forward pass: against the states themselves, blocks left out by hand, and a derivative."""

import pytest
import tiny
import torch

from linear_shortcuts.files import InputError
from linear_shortcuts.lenses import hook
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.states import SequenceRecorder

IDS = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(0))


def lens_of(model, source, target, seed=0):
    d = model.width
    matrix = torch.eye(d) + torch.randn(d, d, generator=torch.Generator().manual_seed(seed)) / d
    return Lens("mat", source, target, (matrix,))


@torch.no_grad()
def states_of(model):
    recorder = SequenceRecorder()
    with model.watch(recorder):
        model.encode(IDS, None)
    return recorder.states


@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj", "bert", "gemma2"])
@torch.no_grad()
def test_what_is_seen_is_what_the_lens_makes_of_the_states_and_nothing_changes(name):
    model = tiny.architecture(name)
    wanted, states = model.network(input_ids=IDS).logits, states_of(model)
    lens = lens_of(model, 1, 3)
    with hook(lens, model) as seen:
        found = model.network(input_ids=IDS).logits
    assert torch.equal(found, wanted)
    torch.testing.assert_close(seen, [lens.transport(states[1])])
    model.network(input_ids=IDS)
    assert len(seen) == 1  # the hooks are gone


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@torch.no_grad()
def test_what_is_replaced_is_read_by_the_head_or_by_the_next_block(name):
    model = tiny.architecture(name)
    states = states_of(model)
    last = lens_of(model, 1, model.layers)
    with hook(last, model, replace=True):
        found = model.network(input_ids=IDS).logits
    torch.testing.assert_close(found, last.read_out(model, states[1]))
    with hook(Lens("id", 0, 2), model, replace=True):  # the last block alone, on embeddings
        recorder = SequenceRecorder()
        with model.watch(recorder):
            model.encode(IDS, None)
    torch.testing.assert_close(recorder.states[2], states[0])


def test_a_direction_is_carried_back_as_a_derivative_is():
    model = tiny.architecture("llama")
    lens, states = lens_of(model, 1, model.layers), states_of(model)
    direction = torch.randn(model.width, generator=torch.Generator().manual_seed(1))
    h = states[1].clone().requires_grad_()
    (lens.transport(h) @ direction).sum().backward()
    with torch.no_grad(), hook(lens, model, steer=direction) as seen:
        model.network(input_ids=IDS)
    torch.testing.assert_close(seen[0], lens.transport(states[1] + h.grad))


def test_what_does_not_fit_ends_in_one_line():
    model = tiny.architecture("llama")
    with (
        pytest.raises(InputError, match=r"steer has shape \(3,\); a direction"),
        hook(Lens("id", 0, 1), model, steer=torch.ones(3)),
    ):
        pass
    with pytest.raises(InputError, match="does not fit llama, whose layers are 0..3"), hook(Lens("id", 2, 7), model):
        pass
    other = Lens("id", 0, 1, card={"model": {**tiny.architecture("gpt2").identity}})
    with pytest.raises(InputError, match="lens id"), hook(other, model):
        pass
