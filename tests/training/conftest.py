"""What the tests of this room share: small settings and a tokenizer of each kind."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from linear_shortcuts.settings import read_params
from linear_shortcuts.training.tokenizers import train_tokenizer

SENTENCES = [f"The cat sees {number} old trees, and a dog runs by the river." for number in range(60)]


@pytest.fixture(scope="session", params=["gpt2", "bert"])
def small(request, repository):
    """settings, tokenizer and files (lists of sentences) of one kind of model."""
    shipped = read_params(repository / "params.yaml").training[f"tiny-{request.param}"]
    settings = replace(
        shipped, layers=2, width=16, heads=2, vocabulary=300, context=24, short_context=None, full_context_steps=None,
        steps=4, batch=2, warmup_steps=1, steps_per_checkpoint=2,
    )  # fmt: skip
    tokenizer = train_tokenizer(settings, SENTENCES)
    return SimpleNamespace(settings=settings, tokenizer=tokenizer, files=[SENTENCES[:30], SENTENCES[30:]])
