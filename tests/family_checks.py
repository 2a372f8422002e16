"""What every family must pass, by the name of a tiny model of it; the library's tests and a study's own call it."""

import dataclasses
from unittest import mock

import models_table
import pytest
import tiny
import torch
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from linear_shortcuts.commands.invariants import INVARIANTS, check, sample_tokens
from linear_shortcuts.models import families
from linear_shortcuts.models.cost import count

SMALL = 60_000  # parameters


def failures(model):
    return {finding.invariant.name for finding in check(model, sample_tokens(model)) if not finding.passed}


def flops(call):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter


def block_flops(model, counter):
    """Of the first block, by the name under which torch's counter has it."""
    tail = model.family.blocks.partition(".")[2] or model.family.blocks
    [found] = [
        sum(counts.values()) for name, counts in counter.get_flop_counts().items() if name.endswith(f".{tail}.0")
    ]
    return found


def every_invariant_holds(name):
    model = tiny.architecture(name)
    assert sum(parameter.numel() for parameter in model.network.parameters()) < SMALL
    findings = list(check(model, sample_tokens(model)))
    assert [finding.invariant for finding in findings] == list(INVARIANTS)
    for finding in findings:
        unmeasured = not model.family.causal and finding.invariant.name == "truncation"
        assert (finding.difference is None) == unmeasured
        assert finding.passed, finding


def left_anywhere_without_loss(name):
    assert models_table.linear_difference(name) < 1e-4


def costs_what_torch_counts(name):
    model = tiny.architecture(name)
    model.network.set_attn_implementation("eager")  # whose products torch can count on a CPU
    length = 7  # within every window
    cost = count(model, torch.tensor([length]), torch.tensor([length - 1]))
    head = flops(lambda: model.decode(torch.randn(1, model.width)))
    assert cost.head == head.get_total_flops()
    ids = torch.arange(5, 5 + length)[None]
    if model.family.causal:
        with torch.no_grad():
            cache = model.network(input_ids=ids[:, :-1], use_cache=True).past_key_values
        counted = flops(lambda: model.network.base_model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True))
    else:
        counted = flops(lambda: model.encode(ids, None))
    assert cost.blocks[0, 0] == block_flops(model, counted)


def longest_sentence_fits(name):
    model = tiny.architecture(name)
    longest = model.max_tokens
    assert longest == (None if "bloom" in name else tiny.CONTEXT)
    ids = torch.arange(200) % 80 + 5
    with torch.inference_mode():
        model.encode(ids[None, : longest or 200], None)
        if name in ("gpt2", "opt", "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"):
            with pytest.raises((IndexError, RuntimeError)):
                model.encode(ids[None, : longest + 1], None)


def structure_alone_shows(name):
    declared = tiny.architecture(name)
    with mock.patch.object(families, "FAMILIES", {}):
        found = tiny.architecture(name)
    assert found.family.causal == declared.family.causal
    assert found.family.blocks == declared.family.blocks
    norm = () if declared.family.final_norm is None else (declared.family.final_norm,)
    assert found.family.head == (*norm, *declared.family.head)
    assert found.max_tokens == declared.max_tokens
    ids = torch.arange(5, 20)[None]
    with torch.inference_mode():
        logits = declared.network(input_ids=ids).logits
        states = [None]

        class Last:
            def state(self, layer, value):
                states[0] = value

        with found.watch(Last()):
            found.encode(ids, None)
        torch.testing.assert_close(found.decode(states[0]), logits, atol=1e-5, rtol=1e-5)


def another_site_is_caught(name, data):
    model = tiny.architecture(name)
    steps = list(model.family.steps)
    a = data.draw(st.integers(1, len(steps) - 1))
    other = data.draw(st.sampled_from([site for site in range(a + 1) if site != model.family.sources[a]]))
    steps[a] = dataclasses.replace(steps[a], reads=other)
    family = dataclasses.replace(model.family, steps=tuple(steps))
    assert "blocks" in failures(dataclasses.replace(model, family=family))
