"""What a norm does to a vector, and how far word vectors are from what it makes of them.

Without its weight and bias, layer norm puts every vector on a sphere of radius sqrt(d) in the plane orthogonal to
(1, …, 1); RMS norm puts it on the same sphere and leaves out the plane (Traveling Words, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.files import InputError

CHUNK = 8192  # rows of the vocabulary held in double precision at a time


@dataclass(frozen=True)
class Norm:
    """Layer norm or RMS norm in double precision.

    centres: whether the mean of the coordinates is taken off first (layer norm) or not (RMS norm).
    weight, bias: (d,), the gamma and beta applied afterwards.
    """

    centres: bool
    epsilon: float
    weight: Tensor
    bias: Tensor

    def normalize(self, x: Tensor) -> Tensor:
        """The norm of vectors (..., d) without weight and bias: length sqrt(d v / (v + epsilon)), v their variance
        around their mean, or around 0 for RMS norm."""
        x = x.to(self.weight)
        if self.centres:
            x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + self.epsilon).sqrt()

    def __call__(self, x: Tensor) -> Tensor:
        return self.normalize(x) * self.weight + self.bias


def read_norm(module: nn.Module) -> Norm:
    """The norm that a module of a model applies; `InputError` if it is neither layer norm nor RMS norm."""
    parameters = dict(module.named_parameters())
    epsilon = next((getattr(module, name) for name in ("eps", "variance_epsilon") if hasattr(module, name)), None)
    if "weight" not in parameters or epsilon is None:
        raise InputError(f"{type(module).__name__} is neither layer norm nor RMS norm; this study reads only these")
    weight = parameters["weight"].detach()
    precise = precision(weight.device)
    bias = parameters.get("bias", torch.zeros_like(weight)).detach()
    norm = Norm(isinstance(module, nn.LayerNorm), float(epsilon), weight.to(precise), bias.to(precise))
    # Some models add 1 to the weight, or centre without saying so: look instead of trusting names.
    trial = torch.linspace(-1, 2, 3 * weight.numel(), device=weight.device).reshape(3, -1) ** 3
    theirs = module(trial.to(weight.dtype)).to(precise)
    allowed = 8 * torch.finfo(weight.dtype).eps * float(theirs.abs().max())
    if float((norm(trial.to(weight.dtype)) - theirs).abs().max()) > max(allowed, 1e-5):
        raise InputError(f"{type(module).__name__} is not plain layer norm or RMS norm; this study reads only these")
    return norm


def precision(device: torch.device) -> torch.dtype:
    """Double precision, wherever the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


# --- the four transformed embeddings -----------------------------------------------------------------------


def chunks(rows: Tensor, size: int = CHUNK) -> Iterator[Tensor]:
    """A matrix (n, d), a few rows at a time, in double precision."""
    for part in rows.split(size):
        yield part.to(precision(part.device))


def distance_table(embeddings: Tensor, norm: Norm) -> dict[str, Any]:
    """How far word vectors are from their normalised selves, as they are, centred, scaled, and both.

    embeddings: (V, d). Returns `mean_norm` m, `scale` sqrt(d) / m, and `rows`, one per transform: mean and standard
    deviation (n - 1) over the tokens of |x - r| and of 1 - cos(x, r), where r is the norm of the untouched vector.
    """
    mean_norm = float(torch.cat([part.norm(dim=-1) for part in chunks(embeddings)]).mean())
    mean_row = sum((part.sum(0) for part in chunks(embeddings)), torch.zeros(())) / len(embeddings)
    scale = embeddings.shape[1] ** 0.5 / mean_norm
    transforms: Mapping[str, Callable[[Tensor], Tensor]] = {
        "original": lambda x: x,
        "centered": lambda x: x - mean_row,
        "scaled": lambda x: x * scale,
        "centered and scaled": lambda x: (x - mean_row) * scale,
    }
    rows = []
    for name, transform in transforms.items():
        measured = [_distances(transform(part), norm.normalize(part)) for part in chunks(embeddings)]
        l2, cosine = (torch.cat(values) for values in zip(*measured, strict=True))
        rows.append(
            {
                "transform": name,
                "l2_mean": float(l2.mean()),
                "l2_std": float(l2.std()),
                "cosine_mean": float(cosine.mean()),
                "cosine_std": float(cosine.std()),
            }
        )
    return {"mean_norm": mean_norm, "scale": scale, "rows": rows}


def _distances(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    return (x - reference).norm(dim=-1), cosine_distance(x, reference)


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """1 - cos of the angle between vectors (..., d); 0 for the same direction, 1 for a right angle."""
    return 1 - nn.functional.cosine_similarity(x, y, dim=-1, eps=1e-300 if x.dtype == torch.float64 else 1e-30)


# --- tokens that a norm favours ----------------------------------------------------------------------------


def token_scores(embeddings: Tensor, norm: Norm) -> dict[str, Tensor]:
    """Four scores (V,) of every token: how long its vector is, as the norm's weight and bias see it.

    |e|, |gamma e|, |e| + e beta, |gamma e| + e beta: what a state of unit length that points at the token can
    add to its logit at most, and what the bias adds in any case.
    """
    parts = []
    for e in chunks(embeddings):
        length, scaled, shift = e.norm(dim=-1), (e * norm.weight).norm(dim=-1), e @ norm.bias
        parts.append((length, scaled, length + shift, scaled + shift))
    names = ("original", "scale", "bias", "bias_and_scale")
    return {name: torch.cat(values).cpu() for name, values in zip(names, zip(*parts, strict=True), strict=True)}


def extremes(scores: Tensor, k: int) -> list[tuple[str, int]]:
    """Position and id of the k largest scores (V,), largest first, then of the k smallest, smallest last.

    Of equal scores the lower id comes first in either half.
    """
    k = min(k, len(scores))
    down = torch.sort(scores, descending=True, stable=True).indices[:k].tolist()
    up = torch.sort(scores, stable=True).indices[:k].tolist()
    top = [(f"top {position}", token) for position, token in enumerate(down, start=1)]
    return top + [(f"bottom {position}", up[position - 1]) for position in range(k, 0, -1)]
