"""Whether a lens finds, on the way to an answer, the words that a model ought to have in mind: pass@k.

The six sets of prompts are those of the Jacobian lens (arXiv 2607.15495).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.files.shapes import check
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.models import LanguageModel

SETS = ("association", "multihop", "multilingual", "order-ops", "poetry", "typo")
_SHAPE = {"items": [{"name": str, "prompt": str, "intermediates": [str]}]}


@dataclass(frozen=True)
class Item:
    """A prompt, as ids (T,), read at a position; words: for each that should be found, the tokens that spell it."""

    name: str
    ids: Tensor
    position: int
    words: list[list[int]]


def read_items(folder: str | Path, kind: str, tokenizer: Any) -> tuple[list[Item], int]:
    """The items of one of `SETS`, `lens-eval-KIND.json`, and how many words were left out for being several tokens.

    Read at the token before `target` where there is one, in poetry at the last line break, else at the last token. A
    word counts with or without a space before it.
    """
    path = Path(folder) / f"lens-eval-{kind}.json"
    value = artifacts.load_json(path)
    check(value, _SHAPE, path, "give the folder of the prompts")
    items, left_out = [], 0
    for entry in value["items"]:
        prompt = entry["prompt"]
        end = prompt.rfind("\n") + 1 if kind == "poetry" else len(prompt)
        encoded = tokenizer(prompt + entry.get("target", ""), return_offsets_mapping=True)
        places = [n for n, (first, last) in enumerate(encoded["offset_mapping"]) if first < last <= end]
        if not places:
            raise InputError(f"{path} has an item {entry['name']} without a token to read; leave it out")
        words = [_spellings(word, tokenizer) for word in entry["intermediates"]]
        left_out += sum(not word for word in words)
        if any(words):
            ids = torch.tensor(encoded["input_ids"][: places[-1] + 1])
            items.append(Item(entry["name"], ids, places[-1], [word for word in words if word]))
    return items, left_out


def _spellings(word: str, tokenizer: Any) -> list[int]:
    encoded = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in (word, f" {word}")]
    return sorted({ids[0] for ids in encoded if len(ids) == 1})


@torch.inference_mode()
def ranks(
    model: LanguageModel, lenses: Mapping[str, Lens], states: Tensor, items: Sequence[Item], batch: int = 32
) -> dict[str, Tensor]:
    """By lens, the rank, from 1, of every word of every item at one layer, (words,) those of an item after each other.

    states: (items, d), h of the lenses' source at each item's position. A word's rank is that of its best spelling.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in lenses}
    for rows in torch.arange(len(items)).split(batch):
        for name, lens in lenses.items():
            logits = lens.read_out(model, states[rows]).float()
            for own, row in zip(logits, rows.tolist(), strict=True):
                best = torch.stack([own[word].max() for word in items[row].words])
                found[name].append(1 + (own > best[:, None]).sum(1).cpu())
    return {name: torch.cat(own) for name, own in found.items()}


def passes(best: Tensor, words: Sequence[int], k: int) -> Tensor:
    """Of each item the share of its words with a best rank over layers of at most k, (items,); best: as of `ranks`.

    words: how many words each item has.
    """
    parts = (best <= k).double().split(list(words))
    return torch.stack([part.mean() for part in parts])
