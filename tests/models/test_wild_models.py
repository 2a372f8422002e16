"""What loads goes through all stages: every architecture of the library that can be built small; here a sample."""

import json

import pytest
import torch
import wild

from linear_shortcuts.commands.invariants import check, notes, sample_tokens
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.cost import count
from linear_shortcuts.models.loading import family_of, load_model, longest, wrap

# One of a kind: state-space, blocks that differ, a limit by another name, a decoder with cross-attention for nobody,
# a pooler in the way, a mixture of experts, shared input.
SAMPLE = ["mamba2", "gemma4_text", "mpt", "trocr", "luke", "mixtral", "zamba2"]
NOTED = {"zamba2", "gemma4_text"}  # whose blocks read more than the stream
PADDED = ["fnet", "convbert", "nystromformer", "yoso"]
IN_PARTS = ["deepseek_v4", "hy_v4", "qwen4_exp_text"]


def loaded(kind):
    """A small model of a type; skips where it cannot be built, or is refused in one line."""
    try:
        network = wild.small_network(kind)
    except Exception as error:
        pytest.skip(f"the library does not build a small one: {error}")
    try:
        return wrap(network, mask_token=4 if "MaskedLM" in type(network).__name__ else None)
    except InputError as error:
        pytest.skip(f"refused: {error}")


def assert_sound(model):
    """Every invariant holds, the limit is known before weights are loaded and can be read, and the cost be counted."""
    tokens = sample_tokens(model)
    for finding in check(model, tokens):
        assert finding.passed, finding
    config = model.network.config
    assert longest(config, family_of(config, "it", made_as=type(model.network).__name__)) == model.max_tokens
    ids = (torch.arange(min(model.max_tokens or 200, 500)) % 80 + 5)[None]
    with torch.inference_mode():
        model.encode(ids, None)
    cost = count(model, tokens.lengths, tokens.positions)
    assert (cost.blocks > 0).all()


@pytest.mark.parametrize("kind", SAMPLE)
def test_a_sample_of_models_is_sound(kind):
    model = loaded(kind)
    assert_sound(model)
    assert bool(list(notes(model, sample_tokens(model)))) == (kind in NOTED)


def test_a_state_space_model_goes_through_all_stages(tmp_path, monkeypatch):
    goes_through("mamba2", tmp_path, monkeypatch)


def goes_through(kind, folder, monkeypatch):
    wild.make_study(folder, loaded(kind).network)
    try:
        load_model(folder / "model", device="cpu")
    except InputError as error:  # some are saved with the configuration of a part, which makes no model of its own
        pytest.skip(f"refused: {error}")
    wild.run_stages_here(folder, monkeypatch)
    assert json.loads((folder / "metrics" / "toy" / "metrics.json").read_text())


@pytest.mark.parametrize("kind", PADDED)
def test_models_that_mix_padding_in_are_refused(kind):
    with pytest.raises(InputError, match="where padding follows a sentence"):
        wrap(wild.small_network(kind), mask_token=4)


@pytest.mark.parametrize("kind", IN_PARTS)
def test_a_stream_of_several_parts_is_refused(kind):
    with pytest.raises(InputError, match="numbers a token at layer 0, not of hidden_size = 32: a stream of several"):
        wrap(wild.small_network(kind))


@pytest.mark.wild
@pytest.mark.parametrize("kind", wild.kinds())
def test_every_model_is_sound(kind):
    assert_sound(loaded(kind))


@pytest.mark.wild
@pytest.mark.parametrize("kind", wild.kinds())
def test_every_model_goes_through_all_stages(kind, tmp_path, monkeypatch):
    goes_through(kind, tmp_path, monkeypatch)
