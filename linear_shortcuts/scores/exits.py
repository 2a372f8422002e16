"""Fixed exits: what the prediction head says at every layer, under five mappings.

Five mappings say what goes to the prediction head at exit layer l (0..L); at l = L all are the full model itself:

    id            h_l as it is, the "logit lens"
    mat           A_{L,l} h_l
    mat_attn      blocks l+1..L with attention replaced by its linear stand-in
    mat_ffn       the same with the feed-forward network replaced
    mat_ln1_ln2   the same with the norms of every block replaced

A mapping may diverge: matrices in the place of sixty norms can blow a stream up until float32 holds it no more. That is
a finding, not a fault. Such a read-out names no token, so that it is wrong, and has no surprisal and no KL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.models import PARTS, LanguageModel, arithmetic, stand_in_steps
from linear_shortcuts.states import SequenceRecorder, batches
from linear_shortcuts.text import Tokens
from linear_shortcuts.text.tokens import most_frequent

if TYPE_CHECKING:
    from linear_shortcuts.settings import Exits

KIND = "exits"
TOP = 10  # tokens kept of every read-out; Precision@k needs k up to 10
NO_TOKEN = -1
FEW = 4  # sentences that show whether all can be scored
READ_AT_ONCE = 2**22  # logits: what caches hold; a pass over more of them takes two to four times as long


@dataclass(frozen=True)
class Readout:
    """What a prediction head said about n samples, and how the full model judges it.

    top_ids: (n, 10) int64, best first. top_probabilities: (n, 2), of the two best.
    surprisal: (n,) -ln p_full(the read-out's best token), in nats. kl: (n,) KL(p_full || p_readout), in nats.
    Where a guess diverged, ids are `NO_TOKEN` and all else is nan.
    """

    top_ids: Tensor
    top_probabilities: Tensor
    surprisal: Tensor
    kl: Tensor

    def first(self, n: int) -> Readout:
        """Of the first n samples."""
        return Readout(**{name: value[:n] for name, value in vars(self).items()})

    @classmethod
    def join(cls, parts: Sequence[Mapping[str, Tensor]]) -> Readout:
        """One read-out from those of consecutive samples, given as mappings of the fields."""
        return cls(**{field.name: torch.cat([part[field.name] for part in parts]) for field in fields(cls)})


@dataclass(frozen=True)
class Judge:
    """The full model's prediction for n samples: probabilities and their logarithms (n, V), and minus entropy (n,)."""

    probabilities: Tensor
    log_probabilities: Tensor
    negative_entropy: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Judge:
        with torch.autocast(logits.device.type, enabled=False):  # whatever the model's own precision is
            log_probabilities = F.log_softmax(logits.float(), dim=-1)
            probabilities = log_probabilities.exp()
            return cls(probabilities, log_probabilities, torch.linalg.vecdot(probabilities, log_probabilities))

    def among(self, ids: Tensor) -> Judge:
        """What is left of the prediction if it has to be one of some tokens (k,)."""
        return Judge.of(self.log_probabilities[:, ids])

    def first(self, n: int) -> Judge:
        """Of the first n samples."""
        return Judge(self.probabilities[:n], self.log_probabilities[:n], self.negative_entropy[:n])


def read_out(logits: Tensor, full: Judge, holds: Tensor | None = None, listed: Tensor | None = None) -> Readout:
    """Reduce logits (n, V) to what is kept of them; full: what the full model says about the same samples.

    holds: (n,) whether the guess that was decoded is a number at all; see `holding`. Logits that are none diverge too.
    listed: (k,) the tokens, rising, that can be chosen; probabilities and KL are then among them. None: all.
    """
    judge = full if listed is None else full.among(listed)
    with torch.autocast(logits.device.type, enabled=False):
        log_probabilities = F.log_softmax((logits if listed is None else logits[:, listed]).float(), dim=-1)
        values, ids = top(log_probabilities, TOP)
        ids = ids if listed is None else listed[ids]
        # As `kl_divergence`, but the entropy is known and the product takes the place of what is no longer needed.
        kl = judge.negative_entropy - log_probabilities.mul_(judge.probabilities).sum(-1)
    lost = ~kl.isfinite() if holds is None else ~(kl.isfinite() & holds)
    return Readout(
        ids.masked_fill(lost[:, None], NO_TOKEN).cpu(),
        values[:, :2].exp().masked_fill(lost[:, None], torch.nan).cpu(),
        # log-softmax, so that the surprisal of a token the full model all but excludes stays finite
        -full.log_probabilities.gather(1, ids[:, :1])[:, 0].masked_fill(lost, torch.nan).cpu(),
        # a distance cannot be negative; rounding can make it so
        kl.clamp(min=0).masked_fill(lost, torch.nan).cpu(),
    )


def holding(guess: Tensor) -> Tensor:
    """Which of the guesses (n, d) hold, (n,): their squares have a finite sum.

    Beyond, a norm divides by infinity, and the head reads out a vector of zeros as if it were a prediction.
    """
    return guess.float().square().sum(-1).isfinite()


def top(values: Tensor, k: int, block: int = 64) -> tuple[Tensor, Tensor]:
    """The k largest of every row of values (n, V) and their places, (n, k) each, largest first; as `torch.topk`.

    The k largest lie in the k blocks of the largest maxima, so that only those are searched: a third of the time of
    `torch.topk` on a CPU, where it takes longer than the softmax.
    """
    whole = values.shape[1] // block * block
    if whole < 4 * k * block:
        found = values.topk(k, dim=1)
        return found.values, found.indices
    blocks = values[:, :whole].unflatten(1, (-1, block)).amax(2).topk(k, dim=1).indices
    inside = torch.arange(block, device=values.device)
    tail = torch.arange(whole, values.shape[1], device=values.device).expand(len(values), -1)
    places = torch.cat([(blocks[:, :, None] * block + inside).flatten(1), tail], dim=1)
    found = values.gather(1, places).topk(k, dim=1)
    return found.values, places.gather(1, found.indices)


@torch.inference_mode()
def score_exits(
    model: LanguageModel,
    states: Tensor,
    guesses: Mapping[str, Tensor],
    layers: Mapping[str, Sequence[int]] | None = None,
    *,
    first: int = 0,
    at_once: int = READ_AT_ONCE,
    listed: Tensor | None = None,
) -> dict[tuple[str, int], Readout]:
    """The read-outs of all mappings at all exit layers, by (mapping, layer).

    states: (L + 1, n, d), the genuine hidden states.
    guesses: mapping -> (k, m, d), what each mapping offers in place of h_L of the first m samples at k exit layers.
    layers: mapping -> its k exit layers; those of a mapping that is not there are 0..L-1.
    first: the number of the first sentence, for the error. at_once: logits that are held in memory together.
    listed: (k,) the tokens, rising, that `id` and `mat` choose among before layer L; None: all.

    Raises `InputError` where the full model's own prediction is not finite.
    """
    exits = {mapping: (layers or {}).get(mapping, range(model.layers)) for mapping in guesses}
    rows, found = max(1, at_once // model.vocabulary), []
    for start in range(0, states.shape[1], rows):
        part = {mapping: guess[:, start : start + rows] for mapping, guess in guesses.items()}
        found.append(_score_rows(model, states[-1, start : start + rows], part, exits, first + start, listed))
    return {key: Readout.join([vars(part[key]) for part in found if key in part]) for key in found[0]}


def _score_rows(
    model: LanguageModel,
    last: Tensor,
    guesses: Mapping[str, Tensor],
    exits: Mapping[str, Sequence[int]],
    first: int,
    listed: Tensor | None,
) -> dict[tuple[str, int], Readout]:
    """As `score_exits`, of few samples; last: (n, d), their genuine h_L. A mapping offered none of them is left out."""
    logits = model.decode(last.to(model.device))
    full = Judge.of(logits)
    lost = (~full.negative_entropy.isfinite()).nonzero()
    if len(lost):
        raise InputError(
            f"the full model's prediction for sentence {first + int(lost[0])} has a value that is not finite; the "
            "numbers overflow, so check the checkpoint's weights and dtype"
        )
    whole = read_out(logits, full)
    scores = {}
    for mapping, guess in guesses.items():
        n = guess.shape[1]
        if not n:
            continue
        for layer, offered in zip(exits[mapping], guess.to(model.device), strict=True):
            among = None if mapping in PARTS else listed
            scores[mapping, layer] = read_out(model.decode(offered), full.first(n), holding(offered), among)
        scores[mapping, model.layers] = whole.first(n)
    return scores


def score_chunk(
    model: LanguageModel,
    states: Tensor,
    tokens: Tokens,
    first: int,
    last: int,
    layer_maps: LayerMaps,
    submodule_maps: SubmoduleMaps,
    tokens_per_batch: int,
    precision: str,
    how: Exits,
    listed: Tensor | None = None,
) -> dict[tuple[str, int], Readout]:
    """The read-outs of every mapping there is, of sentences first..last-1, from all genuine states (L + 1, n, d).

    precision: of the model's own arithmetic, see `models.arithmetic`; maps are applied in float32.
    how: of how many sentences and from how many layers on parts are replaced. listed: as in `score_exits`.
    """
    states = states[:, first:last].to(model.device)
    guesses = layer_guesses(states, layer_maps)
    starts = spread(model.layers, how.part_layers)
    some = tokens.part(first, last if how.part_sentences is None else min(last, how.part_sentences))
    with arithmetic(precision, model.device):
        parts = part_guesses(model, some, submodule_maps, tokens_per_batch, starts) if len(some) else {}
        return score_exits(model, states, guesses | parts, dict.fromkeys(parts, starts), first=first, listed=listed)


def listed(known: Tokens, model: LanguageModel, how: Exits) -> Tensor | None:
    """The tokens that `id` and `mat` choose among, (k,): the most frequent of known text; None where these are all."""
    few = how.short_list
    return None if few is None else most_frequent(known.counts(model.vocabulary), few).to(model.device)


def spread(layers: int, most: int) -> range:
    """The exit layers 0..L-1, or every k-th of them so that there are at most `most`."""
    return range(0, layers, -(-layers // most))


def layer_guesses(states: Tensor, maps: LayerMaps) -> dict[str, Tensor]:
    """What `id` and `mat` offer in place of h_L: (L, n, d) each, from states (L + 1, n, d), where these are."""
    last = len(states) - 1
    mat = [maps.jump(states[layer], layer, last) for layer in range(last)]
    return {"id": states[:-1], "mat": torch.stack(mat)}


@torch.inference_mode()
def part_guesses(
    model: LanguageModel,
    tokens: Tokens,
    maps: SubmoduleMaps,
    tokens_per_batch: int,
    layers: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """What the three sub-module mappings offer in place of h_L: (k, n, d) each; none where blocks have no known parts.

    Blocks 1..l are the genuine ones; in blocks l+1..L the stand-in takes the part's place at every position.
    layers: the k exit layers l; None: 0..L-1.
    """
    layers = range(model.layers) if layers is None else layers
    parts = {mapping: part for mapping, part in PARTS.items() if stand_in_steps(model.family, part)}
    if not parts:
        return {}
    stand_ins = {mapping: maps.stand_ins(model, part) for mapping, part in parts.items()}
    guesses = {mapping: torch.empty(len(layers), len(tokens), model.width, device=model.device) for mapping in parts}
    for batch in batches(tokens, model, tokens_per_batch):
        recorder = SequenceRecorder()
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        for mapping, part in parts.items():
            if part == "attention":
                sampled = [batch.at_positions(states).to(model.device) for states in recorder.states]
                ends = _without_attention(model, sampled, stand_ins[mapping], layers)
                guesses[mapping][:, batch.rows] = ends.float()
                continue
            for number, layer in enumerate(layers):
                end = _run_blocks(model, layer, recorder, stand_ins[mapping], batch.at_positions)
                guesses[mapping][number, batch.rows] = end.to(model.device)
    return guesses


def _run_blocks(
    model: LanguageModel,
    layer: int,
    recorder: SequenceRecorder,
    stand_ins: Sequence[Mapping[int, Tensor]],
    pick: Callable[[Tensor], Tensor],
) -> Tensor:
    """The vectors at the end of the blocks after layer `layer`, (m, d) in float32; nan if lost.

    pick: of states (batch, tokens, d) the m that are wanted, (m, d).

    A vector that held no longer after some block has diverged, whatever a norm makes of it later on. Once all have,
    which in a deep model happens early, the rest of the blocks is spared.
    """
    states = recorder.states[layer]
    held = holding(pick(states))
    for block in range(layer, model.layers):
        attend = model.attention(block, recorder.calls[block])
        states = model.sites(block, states, attend, stand_ins[block])[-1]
        held = held.to(states.device) & holding(pick(states))
        if not held.any():
            break
    return pick(states).float().masked_fill(~held[:, None], torch.nan)


def _without_attention(
    model: LanguageModel, states: Sequence[Tensor], stand_ins: Sequence[Mapping[int, Tensor]], layers: Sequence[int]
) -> Tensor:
    """The states of k layers, among L + 1 tensors (m, d), at the end of the blocks after each: (k, m, d).

    Once attention is a matrix no position sees another, so the sampled one is enough, and the states of all earlier
    layers pass through a block together.
    """
    ends = states[0][:0]
    for block in range(model.layers):
        entering = torch.cat([ends.to(states[block]), states[block]]) if block in layers else ends
        ends = model.sites(block, entering, no_attention, stand_ins[block])[-1]
    return ends.unflatten(0, (len(layers), -1))


def no_attention(states: Tensor) -> Tensor:
    raise AssertionError("attention was to be replaced by its stand-in")


# --- records -------------------------------------------------------------------------------------------------


def chunk_file(number: int) -> str:
    return f"{number:05d}.pickle"


def chunk_files(readouts: Mapping[tuple[str, int], Readout], number: int) -> dict[str, object]:
    """The file (name -> value) of one chunk of samples."""
    return {chunk_file(number): {key: vars(readout) for key, readout in readouts.items()}}


def join_chunks(chunks: Sequence[Mapping[tuple[str, int], Mapping[str, Tensor]]]) -> list[dict[str, object]]:
    """One record per mapping and layer, with the fields of `Readout` over all samples that it was read of."""
    return [
        {
            "type": "jump",
            "mapping": mapping,
            "layer": layer,
            "mean_layers": float(layer),
            **vars(Readout.join([chunk[mapping, layer] for chunk in chunks if (mapping, layer) in chunk])),
        }
        for mapping, layer in chunks[0]
    ]
