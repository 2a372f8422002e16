"""How far a lens's prediction agrees with the full model's, and what it gives the true next token, token by token."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.measures import in_top, kl_divergence

TOP = (1, 5, 10)
KL, CROSS_ENTROPY, SURPRISAL = "kl", "cross_entropy", "surprisal"  # all in nats
MEASURES = (KL, CROSS_ENTROPY, SURPRISAL, *(f"p{k}" for k in TOP))


@torch.inference_mode()
def agreement(
    model: LanguageModel, lenses: Mapping[str, Lens], states: Tensor, last: Tensor, truth: Tensor, batch: int = 250
) -> dict[str, dict[str, Tensor]]:
    """What each lens of one layer says of n tokens, by lens and measure, (n,) float32 each.

    states, last: (n, d), h of the lenses' source and h_L. truth: (n,), ids of the true next tokens, -1 where it is not
    known: cross-entropy is nan there. `kl` is KL(full || lens); `surprisal` what the lens gives the full model's best
    token; `pK` whether the lens's best token is among the full model's first K.
    """
    found: dict[str, dict[str, list[Tensor]]] = {name: {m: [] for m in MEASURES} for name in lenses}
    for rows in torch.arange(len(states)).split(batch):
        full = model.decode(last[rows]).float().log_softmax(-1)
        share, best = full.exp(), full.topk(min(TOP[-1], full.shape[-1])).indices
        known = truth[rows].to(full.device)
        for name, lens in lenses.items():
            guess = lens.read_out(model, states[rows]).float().log_softmax(-1)
            at_truth = -guess.gather(1, known.clamp(min=0)[:, None])[:, 0]
            values = {
                KL: kl_divergence(share, full, guess),
                CROSS_ENTROPY: torch.where(known >= 0, at_truth, math.nan),
                SURPRISAL: -guess.gather(1, best[:, :1])[:, 0],
                **{f"p{k}": in_top(best, guess.argmax(-1), k) for k in TOP},
            }
            for measure, value in values.items():
                found[name][measure].append(value.cpu())
    return {name: {m: torch.cat(parts) for m, parts in own.items()} for name, own in found.items()}


def bits_per_byte(nats: Tensor, lengths: Tensor) -> Tensor:
    """(..., n), whose mean is the sum of nats / ln 2 / the bytes of the true next tokens; nan is left out of both.

    lengths: (n,), UTF-8 bytes of the tokens. All are divided by the mean length, so that means can be resampled.
    """
    known = ~nats.reshape(-1, nats.shape[-1])[0].isnan()
    return nats / math.log(2) / lengths[known].double().mean()
