"""A head of few tokens: the rows of the whole one."""

import decoders
import pytest
import tiny
import torch

from linear_shortcuts.decoding.short_list import ShortList


@pytest.mark.parametrize("name", ["llama", "gptj", "gemma2", "opt, post-norm (350m)"])  # gptj's head has a bias
@torch.inference_mode()
def test_logits_are_those_of_the_listed_tokens(name):
    stack = decoders.stack(name)
    short = ShortList.of(stack, torch.tensor([3, 50, 51, 90]))
    states = torch.randn(6, tiny.WIDTH)
    torch.testing.assert_close(stack.decode(states, short.head), stack.decode(states)[:, [3, 50, 51, 90]])


def test_a_head_that_ends_in_something_else_is_refused():
    stack = decoders.stack("llama")
    stack.head = stack.head[:-1]
    with pytest.raises(TypeError, match="LlamaRMSNorm"):
        ShortList.of(stack, torch.arange(3))
