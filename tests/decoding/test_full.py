"""Decoding with all blocks: against transformers' own generate, one prompt and many."""

import itertools

import decoders
import pytest
import torch

from linear_shortcuts.decoding.choice import Sampler, greedy
from linear_shortcuts.decoding.full import full_batch


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_the_tokens_are_those_of_the_librarys_generate(name):
    stack = decoders.stack(name)
    ids = torch.tensor([decoders.PROMPT])
    options = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    wanted = stack.network.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :].tolist()
    assert decoders.full_tokens(stack, 20) == wanted


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_a_batch_of_many_lengths_equals_one_by_one(name):
    stack = decoders.stack(name)
    prompts = [decoders.PROMPT, [7], [8, 9, 10, 11, 12, 13, 14]]
    steps = list(itertools.islice(full_batch(stack, prompts, [greedy] * 3), 16))
    for number, prompt in enumerate(prompts):
        assert [step[number] for step in steps] == decoders.full_tokens(stack, 16, prompt)


@torch.inference_mode()
def test_draws_in_a_batch_do_not_depend_on_the_others():
    stack = decoders.stack("gpt2")
    draws = [
        [step[-1] for step in itertools.islice(full_batch(stack, prompts, samplers), 12)]
        for prompts, samplers in (([[7]], [Sampler(1.0, 5)]), ([[8, 9], [7]], [Sampler(1.0, 4), Sampler(1.0, 5)]))
    ]
    assert draws[0] == draws[1]
