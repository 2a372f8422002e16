"""A mapped exit as an ordinary model: the first blocks, and a head that holds the map from their layer to the last.

With a root-mean-square norm without intercept, the lens U (g * A h / rms(A h)) and the head W = U diag(g) A behind a
norm of weight 1 differ by one positive factor a position, rms(h) / rms(A h): the order of tokens is the lens's own. The
factor that fits all positions best is folded into the head, since confidence is read off it where drafting stops.

A LayerNorm has an intercept, and centres: there the map is fitted from the normed h to what the head reads, and the
order is not the lens's; how far it agrees with the whole model is measured all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.files import WORK, InputError
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.shorten.choice import Bars, Shortened, report, resumable
from linear_shortcuts.shorten.corrections import Moments, best
from linear_shortcuts.shorten.observation import observe
from linear_shortcuts.shorten.surgery import with_blocks
from linear_shortcuts.text.article_rows import Row

STEPS = 8  # of Newton's method, for one number
EXACT = "The norm before the head only rescales, so the order of tokens is that of the map, then the original's head."
FITTED = "The norm before the head centres, so the map was fitted from the normed state to what the head reads."


def exit_at(
    model: LanguageModel,
    rows: Mapping[str, Sequence[Row]],
    layer: int,
    *,
    seed: int = 0,
    work: Path = WORK,
    bars: Bars = lambda rows, what: rows,
) -> Shortened:
    """A model of the first `layer` blocks, whose head is untied and holds the map from there to the last layer.

    rows: the splits `fit`, `choose` (of the penalty and of the factor) and `report`. What is finished waits in `work`.

    Raises `InputError` for a layer that the model does not have, and for a head that is not a norm and one matrix.
    """
    check_exit(model, layer)
    norm, head = _norm_and_head(model)
    gain = gain_of(norm, model)
    shorter = with_blocks(model, range(layer))
    weight, factor = head.weight, 1.0
    ids = {name: [row.ids for row in own] for name, own in rows.items()}
    with resumable(model, ids, f"exit.{layer}", {"exit": layer, "seed": seed}, work, code=__file__) as partial:
        if layer < model.layers:  # else there is nothing to map
            plain, _ = _norm_and_head(shorter)
            neutralise(plain, model)
            if "map" not in partial:
                partial.save("map", {"map.pickle": _map(model, rows, layer, gain, plain, bars).cpu()})
            matrix = partial.load("map.pickle").to(weight.device)
            weight = (weight.double() @ (matrix if gain is None else gain.double()[:, None] * matrix)).float()
            if gain is not None:
                if "factor" not in partial:
                    partial.save("factor", {}, _factor(model, shorter, weight, rows["choose"], bars))
                factor = partial.note("factor")
        _put_head(shorter, weight * factor, head.bias)
        if "report" not in partial:
            partial.save("report", {}, report(model, shorter, rows["report"], seed, lambda own: bars(own, "report")))
        exact = gain is not None or layer == model.layers
        made = {
            "method": "exit", "start": layer, "end": model.layers, "of": model.layers, "factor": factor,
            "exact": exact, "note": EXACT if exact else FITTED,
        }  # fmt: skip
        return Shortened(shorter, made, [], partial.note("report"))


def check_exit(model: LanguageModel, layer: int) -> None:
    """Raise `InputError` if a model cannot be left at a layer by a mapped head; see `exit_at`."""
    if not 1 <= layer <= model.layers:
        raise InputError(f"layer {layer} is no exit of a model of {model.layers} blocks; give 1 to {model.layers}")
    _norm_and_head(model)


def _norm_and_head(model: LanguageModel) -> tuple[Any, Any]:
    if model.family.final_norm is None or len(model.family.head) != 1:
        raise InputError(
            f"the head of a model of type {model.network.config.model_type} is not one norm and one matrix, so no map "
            "can be put into it; read exits with the library instead"
        )
    found = model.network.get_submodule(model.family.final_norm), model.network.get_submodule(model.family.head[0])
    if not isinstance(found[1], nn.Linear):
        raise InputError(
            f"the head of {model.name} is a {type(found[1]).__name__}, not one matrix; it cannot hold a map"
        )
    return found


@torch.inference_mode()
def gain_of(norm: Any, model: LanguageModel) -> Tensor | None:
    """g (d,) of a norm that gives g * x / rms(x), whatever is stored for it; None if it does something else."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, model.width, generator=generator).to(model.device, model.network.dtype)
    x = x + 1  # a norm that centres shows it
    first, second = norm(x).float() * x.float().square().mean(-1, keepdim=True).sqrt() / x.float()
    if (first - second).abs().max() > 0.05 * first.abs().max():
        return None
    return (first + second) / 2 if model.network.dtype != torch.float32 else _exact_gain(norm, model)


def _exact_gain(norm: Any, model: LanguageModel) -> Tensor:
    ones = torch.full((1, model.width), 1e3, device=model.device, dtype=model.network.dtype)  # far above the epsilon
    return norm(ones)[0].float()


@torch.inference_mode()
def neutralise(norm: Any, model: LanguageModel) -> None:
    """Give a norm weights of its own with which it only norms: 1, or 0 where a checkpoint stores weight - 1."""
    stored = dict(norm.named_parameters(recurse=False))
    x = torch.randn(2, model.width, generator=torch.Generator().manual_seed(0)).to(model.device, model.network.dtype)
    for value in (1.0, 0.0):
        for name, parameter in stored.items():
            number = 0.0 if name == "bias" else value
            setattr(norm, name, nn.Parameter(torch.full_like(parameter, number), requires_grad=False))
        normed = norm(x).float()
        if (normed.square().mean(-1) - 1).abs().max() < 0.05:
            return
    raise InputError(f"the final norm of {model.name}, a {type(norm).__name__}, is of no kind that is known here")


def _map(
    model: LanguageModel, rows: Mapping[str, Sequence[Row]], layer: int, gain: Tensor | None, plain: Any, bars: Bars
) -> Tensor:
    """A (d, d), float64: from h_layer to h_L, or from the normed h_layer to what the head reads of h_L."""
    norm, _ = _norm_and_head(model)
    moments = {split: Moments(model.width, model.device) for split in ("fit", "choose")}
    for split, own in moments.items():
        for passage in observe(model, rows[split], (layer, model.layers), progress=lambda rows: bars(rows, "fit")):
            source, target = passage.states[layer], passage.states[model.layers]
            if gain is None:
                with torch.inference_mode():
                    source, target = plain(source.to(model.network.dtype)), norm(target.to(model.network.dtype))
                source = source.double() - source.double().mean(
                    -1, keepdim=True
                )  # else rounding passes for a direction
            own.update(source, target.double() - source.double())
    eye = torch.eye(model.width, dtype=torch.float64, device=model.device)
    return eye + best(moments["fit"], moments["choose"], intercept=False).matrix


def _factor(model: LanguageModel, shorter: LanguageModel, weight: Tensor, rows: Sequence[Row], bars: Bars) -> float:
    """The c > 0 for which softmax(c z) comes closest to the whole model, in KL, over these rows: convex in c."""
    (plain, _), (norm, head) = _norm_and_head(shorter), _norm_and_head(model)
    kept = []  # the heads' inputs, (n, d) a row: of a vocabulary of logits there are too many to keep
    dtype, every = model.network.dtype, slice(None, None, 4)  # one number needs no more
    with torch.inference_mode():
        for passage in observe(model, rows, (shorter.layers, model.layers), progress=lambda rows: bars(rows, "scale")):
            source, target = (passage.states[own.layers][every].to(dtype) for own in (shorter, model))
            kept.append((plain(source).float(), norm(target)))
        factor = 1.0
        for _ in range(STEPS):
            slope = bend = 0.0
            for own, theirs in kept:
                logits = own @ weight.T
                p, q = head(theirs).float().softmax(-1), (factor * logits).softmax(-1)
                mean = (q * logits).sum(-1)
                slope += float((mean - (p * logits).sum(-1)).sum())
                bend += float(((q * logits.square()).sum(-1) - mean.square()).sum())
            factor = min(max(factor - slope / bend, factor / 4), factor * 4)
    return factor


def _put_head(shorter: LanguageModel, weight: Tensor, bias: Tensor | None) -> None:
    network = shorter.network
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    head.weight = nn.Parameter(weight.to(shorter.device, network.dtype), requires_grad=False)
    if bias is not None:
        head.bias = nn.Parameter(bias, requires_grad=False)
    network.set_submodule(shorter.family.head[0], head)
    for config in {id(own): own for own in (network.config, network.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    network.all_tied_weights_keys = {}  # what the library would not save, taking it for the embeddings
