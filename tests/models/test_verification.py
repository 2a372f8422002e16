"""A model is held to what it says of itself as it loads."""

import pytest
import tiny

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import wrap


def test_positions_after_a_padding_token_that_is_not_named_are_refused():
    network = tiny.architecture("roberta").network
    network.config.pad_token_id = None
    with pytest.raises(InputError, match="pad_token_id is null .* roberta"):
        wrap(network)


@pytest.mark.parametrize("kind", ["nystromformer", "convbert"])
def test_a_model_that_sees_padding_is_refused(kind):
    with pytest.raises(InputError, match="where padding follows a sentence; it cannot be used in batches"):
        wrap(tiny.random_network(kind, **({"embedding_size": 16} if kind == "convbert" else {})))


def test_a_causal_model_that_sees_later_tokens_is_refused():
    _, own = tiny.ARCHITECTURES["gemma3"]
    with pytest.raises(InputError, match="sets use_bidirectional_attention"):
        wrap(tiny.random_network("gemma3_text", **own, use_bidirectional_attention=True))

    network = tiny.random_network("gpt_bigcode")
    network.transformer.wte.register_forward_hook(lambda module, args, output: output + output.flip(1))
    with pytest.raises(InputError, match="loads as a causal model but its tokens see those behind them"):
        wrap(network)
