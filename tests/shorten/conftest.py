"""Rows of random tokens, and models whose last block does nothing."""

import pytest
import tiny
import torch

from linear_shortcuts.text.article_rows import IGNORED, Row


def random_rows(model, number: int, *, seed: int, length: int = tiny.CONTEXT) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for article in range(number):
        ids = torch.randint(tiny.MASK + 1, tiny.VOCABULARY, (length,), generator=generator)
        labels = torch.full_like(ids, IGNORED)
        if model.mask_token is None:
            labels[:-1] = ids[1:]
        else:
            labels[3:6], ids[3:6] = ids[3:6].clone(), model.mask_token
        rows.append(Row(ids, labels, article // 2))
    return rows


@pytest.fixture(autouse=True)
def unfinished(tmp_path, monkeypatch):
    """What a run leaves to be resumed lies in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rows_of():
    """Of a model: rows of the three splits."""
    return lambda model: {
        name: random_rows(model, number, seed=seed)
        for seed, (name, number) in enumerate({"fit": 12, "choose": 4, "report": 6}.items())
    }


@pytest.fixture
def logits():
    """The model's own logits of some tokens, (n, V)."""

    @torch.inference_mode()
    def of(network, ids=None):
        ids = torch.arange(7, 27, 2) if ids is None else ids
        return network(input_ids=ids[None], use_cache=False).logits[0]

    return of


@pytest.fixture
def silence():
    """Make blocks of a model write nothing, so that they are the identity."""

    def silence(model, blocks):
        for number in blocks:
            for name, parameter in model.blocks[number].named_parameters():
                if name.startswith(("mlp.down_proj", "self_attn.o_proj", "mlp.c_proj", "attn.c_proj")):
                    parameter.zero_()
        return model

    return silence
