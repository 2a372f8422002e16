"""The reading of one sentence: its states, carried by every lens, read out at every layer and word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import InputError, check_kind, shown
from linear_shortcuts.lenses import LensSet
from linear_shortcuts.maps import SubmoduleMaps
from linear_shortcuts.models import PARTS, LanguageModel
from linear_shortcuts.peek.pieces import piece
from linear_shortcuts.peek.reading import DIVERGED, TOP, Cells, Reading
from linear_shortcuts.scores import part_guesses
from linear_shortcuts.scores.exits import NO_TOKEN, holding, top
from linear_shortcuts.states.extraction import TOKENS_PER_BATCH, extract
from linear_shortcuts.text import Tokens, check_fit, encode


@torch.inference_mode()
def read(
    model: LanguageModel,
    tokenizer: Any,
    text: str,
    lenses: Mapping[str, LensSet],
    *,
    parts: SubmoduleMaps | None = None,
    masked: bool = False,
    every: int = 1,
    follow: Sequence[int] = (),
    ranks: bool = True,
) -> Reading:
    """Read a sentence at every layer under some lenses.

    lenses: by the name they are shown under, each to the last layer. parts: stand-ins of sub-modules, read out as
        further lenses. masked: mask every word of the text in turn, for a masked model; without, the text has one mask
        token. every: every so many layers, without those that some lens does not read, and the last.
    follow: tokens whose ranks are kept at every word; ranks: those of all tokens that come first somewhere, too, and
        the probabilities of all that are among the best somewhere.

    Raises `InputError` for a text that the model cannot read, and for lenses that lead elsewhere.
    """
    check_kind("model", model, LanguageModel, "give what load_model makes of it")
    if every < 1:
        raise InputError(f"every is {every}; give 1 or more")
    for name, lens in lenses.items():
        if lens.target != model.layers:
            raise InputError(
                f"the lens {name} leads to layer {lens.target}, not to {model.layers}, where the head reads"
            )
    if parts is not None and (twice := sorted(lenses.keys() & PARTS.keys())):
        raise InputError(f"a stand-in of parts is shown as {twice[0]}; show the lens of that name under another")
    sentences, ids = _tokens(model, tokenizer, text, masked)
    turned = len(sentences) > 1
    states = extract(
        model, sentences, 0, len(sentences), TOKENS_PER_BATCH, "sampled" if turned else "all"
    ).hidden_states
    rows = [i for i in range(0, model.layers, every) if all(i in lens for lens in lenses.values())]
    layers = (*rows, model.layers)
    guesses = {name: [lens[i].transport(states[i]) for i in layers[:-1]] for name, lens in lenses.items()}
    fitted_on = {name: lens.corpus for name, lens in lenses.items()}
    if parts is not None:
        each = sentences if turned else Tokens(sentences.sentences * len(ids), torch.arange(len(ids)))
        found = part_guesses(model, each, parts, TOKENS_PER_BATCH, layers[:-1])
        guesses |= {name: list(guess) for name, guess in found.items()}
        fitted_on |= dict.fromkeys(found, parts.card["corpus"]["name"] if parts.card else None)
    last = states[-1]
    answers = tuple(model.decode(last).argmax(-1).tolist())
    read_out = {
        name: _cells(model, [*guess, last], [*answers] if ranks else None, follow) for name, guess in guesses.items()
    }
    used = {*ids, *answers, *follow}.union(*(cells.ids.flatten().tolist() for cells in read_out.values()))
    words = {token: DIVERGED if token == NO_TOKEN else piece(tokenizer, token) for token in used}
    texts = {token: tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in used - {NO_TOKEN}}
    known = {name: corpus for name, corpus in fitted_on.items() if corpus}
    return Reading(model.name, text, layers, tuple(ids), answers, read_out, words, texts, known)


def _tokens(model: LanguageModel, tokenizer: Any, text: str, masked: bool) -> tuple[Tokens, list[int]]:
    """The sentences to run, and the tokens (T,) under which the columns stand."""
    encoded = encode(tokenizer, [text], return_special_tokens_mask=True)
    ids, special = encoded["input_ids"][0], encoded["special_tokens_mask"][0]
    if not ids:
        raise InputError(f"the text {shown(text)!r} has no token; give a word or more")
    whole = torch.tensor(ids, dtype=torch.int64)
    if model.family.causal:
        if masked:
            raise InputError(f"{model.name} predicts the next token and masks none; leave --masked out")
        sentences, columns = Tokens([whole], torch.tensor([len(ids) - 1])), ids
    elif masked:
        places = [place for place, is_special in enumerate(special) if not is_special]
        if not places:
            raise InputError(f"the text {shown(text)!r} has no word to mask; give one")
        sentences, columns = Tokens([whole.clone() for _ in places], torch.tensor(places)), [ids[p] for p in places]
        for sentence, place in zip(sentences.sentences, places, strict=True):
            sentence[place] = torch.tensor(model.mask_token)
    else:
        places = [place for place, token in enumerate(ids) if token == model.mask_token]
        if len(places) != 1:
            mask = tokenizer.mask_token
            raise InputError(
                f"{model.name} guesses what is masked, and the text has {mask} {len(places)} times; write it once, or "
                "have every word masked in turn (masked)"
            )
        sentences, columns = Tokens([whole], torch.tensor(places)), ids
    check_fit(sentences, model.vocabulary, model.max_tokens, "the text", model.mask_token)
    return sentences, columns


def _cells(model: LanguageModel, guesses: Sequence[Tensor], answers: list[int] | None, follow: Sequence[int]) -> Cells:
    """What the head says of guesses at h_L, (T, d) for every row."""
    k = min(TOP, model.vocabulary)
    found = [top(_log_probabilities(model, guess), k) for guess in guesses]
    lost = torch.stack([~holding(guess) for guess in guesses]).cpu()
    ids = torch.stack([places for _, places in found]).cpu().masked_fill(lost[:, :, None], NO_TOKEN)
    probabilities = torch.stack([values.exp() for values, _ in found]).cpu().masked_fill(lost[:, :, None], torch.nan)
    wanted: list[list[int]] = [list(dict.fromkeys(follow)) for _ in range(ids.shape[1])]
    among: list[list[int]] = [[] for _ in wanted]
    if answers is not None:
        wanted = [
            list(dict.fromkeys([*own, answer, *ids[:, position, 0].tolist()]))
            for position, (own, answer) in enumerate(zip(wanted, answers, strict=True))
        ]
        among = [ids[:, position].unique().tolist() for position in range(ids.shape[1])]
    real = [[[token for token in own if token != NO_TOKEN] for own in tokens] for tokens in (wanted, among)]
    return Cells(ids, probabilities, *_followed(model, guesses, *real))


def _log_probabilities(model: LanguageModel, guess: Tensor) -> Tensor:
    return F.log_softmax(model.decode(guess.to(model.device)).float(), dim=-1)


def _followed(
    model: LanguageModel, guesses: Sequence[Tensor], wanted: Sequence[Sequence[int]], among: Sequence[Sequence[int]]
) -> tuple[tuple[dict[int, Tensor], ...], tuple[dict[int, Tensor], ...]]:
    """For every word, the ranks (R,) of the tokens wanted there, 1 and the number of tokens that come before, and the
    probabilities (R,) of others; 0 and nan where a guess diverged.

    What is read out is made anew, because all logits of a long sentence together would not fit into memory.
    """
    if not any((*wanted, *among)):
        return tuple({} for _ in wanted), tuple({} for _ in among)
    ranked, listed = (_padded(tokens, model.device) for tokens in (wanted, among))
    ranks, trajectories = [], []
    for guess in guesses:
        values, lost = _log_probabilities(model, guess), ~holding(guess)[:, None].to(model.device)
        own = values.gather(1, ranked)
        before = [(values > own[:, [n]]).sum(1) + 1 for n in range(own.shape[1])]
        ranks.append(torch.stack(before, dim=1).masked_fill(lost, 0) if before else ranked)
        trajectories.append(values.gather(1, listed).exp().masked_fill(lost, torch.nan))
    return _by_token(torch.stack(ranks), wanted), _by_token(torch.stack(trajectories), among)


def _padded(tokens: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """The tokens of every word, (T, most of them), filled up with 0."""
    most = max(map(len, tokens))
    return torch.tensor([[*own, *[0] * (most - len(own))] for own in tokens], dtype=torch.int64, device=device)


def _by_token(values: Tensor, tokens: Sequence[Sequence[int]]) -> tuple[dict[int, Tensor], ...]:
    """Values (R, T, most) of the tokens of every word, by token."""
    held = values.cpu()
    return tuple({token: held[:, t, n] for n, token in enumerate(own)} for t, own in enumerate(tokens))
