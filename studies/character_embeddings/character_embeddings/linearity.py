"""How linear is the network's road? Maps from the concatenated vectors to the hidden layer and to the logits.

The same least squares as for the layers of transformers: A without an intercept, fitted on the pairs the network was
trained on, scored on the others. `affine` appends a constant 1 to the source, because the network has offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from character_embeddings.network import CharacterModel
from character_embeddings.vocabulary import Pairs
from linear_shortcuts.maps import fit
from linear_shortcuts.scores import in_top, kl_divergence, r2

SOURCES = ("linear", "affine")
TARGETS = ("preactivation", "hidden", "logits")


@torch.inference_mode()
def states(network: CharacterModel, contexts: Tensor) -> dict[str, Tensor]:
    """What the network makes of contexts (n, T): `linear` and `affine` sources, and the targets."""
    source = network.concatenate(contexts)
    preactivation = network.hidden(source)
    hidden = network.activation(preactivation)
    return {
        "linear": source,
        "affine": F.pad(source, (0, 1), value=1.0),
        "preactivation": preactivation,
        "hidden": hidden,
        "logits": network.readout(hidden),
    }


def fit_maps(network: CharacterModel, pairs: Pairs) -> dict[str, Tensor]:
    """`<source>_<target>` -> matrix (d_target, d_source) in float32, to be applied as `A @ x`."""
    seen = states(network, pairs.contexts)
    return {
        f"{source}_{target}": fit(seen[source], seen[target]).matrices[0].float()
        for source in SOURCES
        for target in TARGETS
    }


@torch.inference_mode()
def score_maps(network: CharacterModel, maps: Mapping[str, Tensor], pairs: Pairs) -> list[dict[str, Any]]:
    """One record a map: r2 of the target; and of the logits it leads to, through the rest of the network:

    Precision@1 (the share of contexts whose likeliest character is the network's own), the KL divergence from the
    network, and the loss on the characters that did follow, in nats.
    """
    seen = states(network, pairs.contexts)
    own = seen["logits"]
    best = own.argmax(1, keepdim=True)
    log_p = own.double().log_softmax(1)
    rest: dict[str, Callable[[Tensor], Tensor]] = {
        "preactivation": lambda x: network.readout(network.activation(x)),
        "hidden": network.readout,
        "logits": lambda x: x,
    }
    records = []
    for name, matrix in maps.items():
        source, _, target = name.partition("_")
        guess = seen[source] @ matrix.T
        logits = rest[target](guess)
        log_q = logits.double().log_softmax(1)
        records.append(
            {
                "source": source,
                "target": target,
                "r2": r2(seen[target], guess),
                "precision_at_1": float(in_top(best, logits.argmax(1), 1).mean()),
                "kl": float(kl_divergence(log_p.exp(), log_p, log_q).mean()),
                "loss": float(F.nll_loss(log_q, pairs.targets)),
            }
        )
    return records
