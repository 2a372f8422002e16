"""pass@k: 1 for a lens that has the word first, chance for a random one; prompts are read where they should be."""

import json

import pytest
import torch
from torch import nn

from linear_shortcuts import InputError
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.scores.latent import Item, passes, ranks, read_items

VOCABULARY, LAYERS, K = 97, 4, 10


class OneHot:
    """A head whose logits are the states themselves."""

    def decode(self, states):
        return states


def items(number, words=1):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(VOCABULARY, (number, words), generator=generator).tolist()
    return [Item(str(n), torch.tensor([1]), 0, [[word] for word in own]) for n, own in enumerate(drawn)]


def counts(asked):
    return [len(item.words) for item in asked]


def test_a_lens_that_has_the_word_first_passes_and_one_that_has_it_second_passes_at_two():
    asked = items(20)
    first = nn.functional.one_hot(torch.tensor([item.words[0][0] for item in asked]), VOCABULARY).float()
    found = ranks(OneHot(), {"id": Lens("id", 0, 1)}, first, asked)["id"]
    assert passes(found, counts(asked), 1).mean() == 1
    assert torch.equal(ranks(OneHot(), {"id": Lens("id", 0, 1)}, first, asked, batch=7)["id"], found)
    other = first.clone()
    other[torch.arange(20), (first.argmax(1) + 1) % VOCABULARY] = 2
    second = ranks(OneHot(), {"id": Lens("id", 0, 1)}, other, asked)["id"]
    assert (passes(second, counts(asked), 1).mean(), passes(second, counts(asked), 2).mean()) == (0, 1)


def test_a_random_lens_passes_as_often_as_chance_at_a_layer_and_over_all():
    asked = items(1500)
    lens, generator = {"id": Lens("id", 0, 1)}, torch.Generator().manual_seed(1)
    by_layer = torch.stack(
        [ranks(OneHot(), lens, torch.randn(1500, VOCABULARY, generator=generator), asked)["id"] for _ in range(LAYERS)]
    )
    chance = K / VOCABULARY
    assert float(passes(by_layer[0], counts(asked), K).mean()) == pytest.approx(chance, abs=0.03)
    over_all = 1 - (1 - chance) ** LAYERS
    assert float(passes(by_layer.amin(0), counts(asked), K).mean()) == pytest.approx(over_all, abs=0.04)


def test_of_several_words_the_share_counts_and_of_spellings_the_best():
    asked = [Item("a", torch.tensor([1]), 0, [[3, 5], [4]])]
    states = torch.tensor([[0.0, 9, 8, 1, 7, 9.5]])
    found = ranks(OneHot(), {"id": Lens("id", 0, 1)}, states, asked)["id"]
    assert found.tolist() == [1, 4]
    assert passes(found, counts(asked), 1).tolist() == [0.5]


def test_prompts_are_read_before_the_target_at_the_line_break_and_at_the_end(repository, tmp_path):
    from linear_shortcuts import load_tokenizer

    tokenizer = load_tokenizer(repository / "models" / "tiny-gpt2")
    prompts = {
        "multihop": {"name": "a", "prompt": "the value of the ", "target": "list", "intermediates": ["value"]},
        "poetry": {"name": "b", "prompt": "a line\nthe first line,\nand the ", "intermediates": ["line", "qzqzqz"]},
        "typo": {"name": "c", "prompt": "return the value", "intermediates": ["value"]},
    }
    wanted = {"multihop": " the", "poetry": "\n", "typo": " value"}
    for kind, entry in prompts.items():
        (tmp_path / f"lens-eval-{kind}.json").write_text(json.dumps({"items": [entry]}))
        [item], left_out = read_items(tmp_path, kind, tokenizer)
        assert tokenizer.decode(item.ids[item.position :]).endswith(wanted[kind].strip(" ")), kind
        assert left_out == (kind == "poetry")
        assert len(item.ids) == item.position + 1
    (tmp_path / "lens-eval-typo.json").write_text('{"items": [{"name": "a"}]}')
    with pytest.raises(InputError, match="lacks items"):
        read_items(tmp_path, "typo", tokenizer)
