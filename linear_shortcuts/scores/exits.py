"""Fixed exits: what the prediction head says at every layer, under five mappings.

Five mappings say what goes to the prediction head at exit layer l (0..L); at l = L all are the full model itself:

    id            h_l as it is, the "logit lens"
    mat           A_{L,l} h_l
    mat_attn      blocks l+1..L with attention replaced by its linear stand-in
    mat_ffn       the same with the feed-forward network replaced
    mat_ln1_ln2   the same with the norms of every block replaced
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.models import PARTS, LanguageModel, arithmetic, stand_in_steps
from linear_shortcuts.scores.measures import kl_divergence
from linear_shortcuts.states import SequenceRecorder, batches, check_finite
from linear_shortcuts.text import Tokens

TOP = 10  # tokens kept of every read-out; Precision@k needs k up to 10


@dataclass(frozen=True)
class Readout:
    """What a prediction head said about n samples, and how the full model judges it.

    top_ids: (n, 10) int64, best first. top_probabilities: (n, 2), of the two best.
    surprisal: (n,) -ln p_full(the read-out's best token), in nats. kl: (n,) KL(p_full || p_readout), in nats.
    """

    top_ids: Tensor
    top_probabilities: Tensor
    surprisal: Tensor
    kl: Tensor

    @classmethod
    def join(cls, parts: Sequence[Mapping[str, Tensor]]) -> Readout:
        """One read-out from those of consecutive samples, given as mappings of the fields."""
        return cls(**{field.name: torch.cat([part[field.name] for part in parts]) for field in fields(cls)})


@dataclass(frozen=True)
class Judge:
    """The full model's prediction for n samples: probabilities and their logarithms, (n, V) each."""

    probabilities: Tensor
    log_probabilities: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Judge:
        log_probabilities = F.log_softmax(logits.float(), dim=-1)
        return cls(log_probabilities.exp(), log_probabilities)


def read_out(logits: Tensor, full: Judge) -> Readout:
    """Reduce logits (n, V) to what is kept of them; full: what the full model says about the same samples."""
    with torch.autocast(logits.device.type, enabled=False):  # whatever the model's own precision is
        log_probabilities = F.log_softmax(logits.float(), dim=-1)
        kl = kl_divergence(full.probabilities, full.log_probabilities, log_probabilities)
    values, ids = top(log_probabilities, TOP)
    return Readout(
        ids.cpu(),
        values[:, :2].exp().cpu(),
        # log-softmax, so that the surprisal of a token the full model all but excludes stays finite
        -full.log_probabilities.gather(1, ids[:, :1])[:, 0].cpu(),
        kl.clamp(min=0).cpu(),  # a distance cannot be negative; rounding can make it so
    )


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
def score_exits(model: LanguageModel, states: Tensor, guesses: Mapping[str, Tensor]) -> dict[tuple[str, int], Readout]:
    """The read-outs of all mappings at all exit layers, by (mapping, layer).

    states: (L + 1, n, d), the genuine hidden states.
    guesses: mapping -> (L, n, d), what each mapping offers in place of h_L at exit layers 0..L-1.
    """
    logits = model.decode(states[-1].to(model.device))
    full = Judge.of(logits)
    whole = read_out(logits, full)
    scores = {}
    for mapping, guess in guesses.items():
        for layer in range(model.layers):
            scores[mapping, layer] = read_out(model.decode(guess[layer].to(model.device)), full)
        scores[mapping, model.layers] = whole
    return scores


def score_chunk(
    model: LanguageModel,
    states: Tensor,
    tokens: Tokens,
    layer_maps: LayerMaps,
    submodule_maps: SubmoduleMaps,
    tokens_per_batch: int,
    precision: str,
    first: int,
) -> dict[tuple[str, int], Readout]:
    """The read-outs of every mapping there is, from the genuine states (L + 1, n, d) of n sentences.

    precision: of the model's own arithmetic, see `models.arithmetic`; maps are applied in float32.
    first: the number of the first sentence, for the error if a guess overflows.
    """
    states = states.to(model.device)
    guesses = layer_guesses(states, layer_maps)
    with arithmetic(precision, model.device):
        guesses |= part_guesses(model, tokens, submodule_maps, tokens_per_batch)
        for mapping, guess in guesses.items():
            check_finite(guess, f"what {mapping} makes of layer", first + torch.arange(len(tokens)))
        return score_exits(model, states, guesses)


def layer_guesses(states: Tensor, maps: LayerMaps) -> dict[str, Tensor]:
    """What `id` and `mat` offer in place of h_L: (L, n, d) each, from states (L + 1, n, d), where these are."""
    last = len(states) - 1
    mat = [maps.jump(states[layer], layer, last) for layer in range(last)]
    return {"id": states[:-1], "mat": torch.stack(mat)}


@torch.inference_mode()
def part_guesses(model: LanguageModel, tokens: Tokens, maps: SubmoduleMaps, tokens_per_batch: int) -> dict[str, Tensor]:
    """What the three sub-module mappings offer in place of h_L: (L, n, d) each; none where blocks have no known parts.

    Blocks 1..l are the genuine ones; in blocks l+1..L the stand-in takes the part's place at every position.
    """
    parts = {mapping: part for mapping, part in PARTS.items() if stand_in_steps(model.family, part)}
    if not parts:
        return {}
    stand_ins = {mapping: maps.stand_ins(model, part) for mapping, part in parts.items()}
    guesses = {mapping: torch.empty(model.layers, len(tokens), model.width, device=model.device) for mapping in parts}
    for batch in batches(tokens, model, tokens_per_batch):
        recorder = SequenceRecorder()
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        for mapping, part in parts.items():
            if part == "attention":
                sampled = [batch.at_positions(states).to(model.device) for states in recorder.states]
                guesses[mapping][:, batch.rows] = _without_attention(model, sampled, stand_ins[mapping]).float()
                continue
            for layer in range(model.layers):
                end = _run_blocks(model, layer, recorder, stand_ins[mapping])
                guesses[mapping][layer, batch.rows] = batch.at_positions(end).to(model.device).float()
    return guesses


def _run_blocks(
    model: LanguageModel, layer: int, recorder: SequenceRecorder, stand_ins: Sequence[Mapping[int, Tensor]]
) -> Tensor:
    """The states (batch, tokens, d) of layer `layer` at the end of the blocks after it."""
    states = recorder.states[layer]
    for block in range(layer, model.layers):
        attend = model.attention(block, recorder.calls[block])
        states = model.sites(block, states, attend, stand_ins[block])[-1]
    return states


def _without_attention(
    model: LanguageModel, states: Sequence[Tensor], stand_ins: Sequence[Mapping[int, Tensor]]
) -> Tensor:
    """The states of every layer, L + 1 tensors (m, d), at the end of the blocks after it: (L, m, d).

    Once attention is a matrix no position sees another, so the sampled one is enough, and the states of all earlier
    layers pass through a block together.
    """
    ends = states[0][:0]
    for block in range(model.layers):
        entering = torch.cat([ends.to(states[block]), states[block]])
        ends = model.sites(block, entering, _no_attention, stand_ins[block])[-1]
    return ends.unflatten(0, (model.layers, -1))


def _no_attention(states: Tensor) -> Tensor:
    raise AssertionError("attention was to be replaced by its stand-in")


# --- records -------------------------------------------------------------------------------------------------


def chunk_file(number: int) -> str:
    return f"{number:05d}.pickle"


def chunk_files(readouts: Mapping[tuple[str, int], Readout], number: int) -> dict[str, object]:
    """The file (name -> value) of one chunk of samples."""
    return {chunk_file(number): {key: vars(readout) for key, readout in readouts.items()}}


def join_chunks(chunks: Sequence[Mapping[tuple[str, int], Mapping[str, Tensor]]]) -> list[dict[str, object]]:
    """One record per mapping and layer, with the fields of `Readout` over all samples."""
    return [
        {
            "type": "jump",
            "mapping": mapping,
            "layer": layer,
            "mean_layers": float(layer),
            **vars(Readout.join([chunk[mapping, layer] for chunk in chunks])),
        }
        for mapping, layer in chunks[0]
    ]
