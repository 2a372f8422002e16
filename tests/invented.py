"""Read-outs of an invented study, and the tables made of them."""

import numpy as np
import torch

from linear_shortcuts.models.cost import Cost
from linear_shortcuts.scores import tables
from linear_shortcuts.scores.early_exit import sweep
from linear_shortcuts.settings.params import Bootstrap

LAYERS, SAMPLES = 3, 50
BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95)
COST = Cost(blocks=torch.full((LAYERS, SAMPLES), 10.0, dtype=torch.float64), head=3.0, jump=2.0)
CARD = {
    "model": {"id": "m", "revision": None, "weights_sha256": "0" * 64, "config": {}},
    "layers": LAYERS,
    "width": 24,
    "corpus": {"name": "text", "sentences_sha256": None, "drawn": None},
    "split": "validation",
    "sentences": SAMPLES,
    "vectors": SAMPLES,
    "positions": "sampled",
    "precision": "float32",
    "tokens": "tokenized here",
    "tokens_sha256": "1" * 64,
    "tokenizer": None,
    "max_tokens": None,
    "seed": 0,
    "convention": "c",
}


def made():
    """Read-outs that get better with depth, as real ones do, and what is made of them."""
    rng = np.random.default_rng(0)
    truth = np.stack([rng.permutation(40)[:10] for _ in range(SAMPLES)])
    fixed = []
    for mapping in ("id", "mat", "mat_attn", "mat_ffn", "mat_ln1_ln2"):
        for layer in range(LAYERS + 1):
            share = layer / LAYERS if mapping == "id" else 0.3 + 0.7 * layer / LAYERS
            right = rng.random(SAMPLES) < share
            other = np.stack([rng.permutation(40)[:10] for _ in range(SAMPLES)])
            fixed.append(
                {
                    "mapping": mapping,
                    "layer": layer,
                    "mean_layers": float(layer),
                    "top_ids": torch.from_numpy(np.where(right[:, None], truth, other)),
                    "top_probabilities": torch.from_numpy(np.sort(rng.random((SAMPLES, 2)))[:, ::-1].copy()),
                    "surprisal": torch.from_numpy(rng.random(SAMPLES) + 3 * (1 - share)),
                    "kl": torch.from_numpy(rng.random(SAMPLES) * (1 - share)),
                }
            )
    early = []
    for mapping in ("mat", "id"):
        own = [record for record in fixed if record["mapping"] == mapping]
        early += sweep(own, torch.arange(SAMPLES), [-1.112, 0.3, 0.6, 1.112], mapping, COST)
    pairs = [(i, j) for i in range(LAYERS) for j in range(i + 1, LAYERS + 1)]
    r2 = tables.r2_table(
        {key: dict.fromkeys(pairs, v) for key, v in zip(tables.R2, (0.8, -0.5, 0.9, 0.4), strict=True)}
    )
    exits = tables.exits_table(fixed, BOOTSTRAP, 0)
    return fixed, early, r2, exits, tables.early_exit_table(early, fixed, COST, BOOTSTRAP, 0)
