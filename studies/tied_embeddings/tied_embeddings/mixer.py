"""R MLP-mixers as one computation."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tied_embeddings.columns import layer_norm, linear, lookup, select
from tied_embeddings.models import ACTIVATIONS
from tied_embeddings.settings import ModelSettings


def forward(settings: ModelSettings, p: Mapping[str, Tensor], table: Tensor, ids: Tensor, places: Tensor) -> Tensor:
    """The vectors (R, d, n) that are read out, for input embeddings (R, V, d) and ids (R, n, N), at places (R, n).

    The channels of the last layer are mixed there only.
    """
    x, activation = lookup(table.mT, ids), ACTIVATIONS[settings.activation]
    for number in range(settings.layers):

        def part(name: str, number: int = number) -> tuple[Tensor, Tensor]:
            return p[f"body.{number}.{name}.weight"], p[f"body.{number}.{name}.bias"]

        normed = layer_norm(x, *part("norm1")).transpose(1, 2)  # (R, N, d, n)
        x = x + linear(activation(linear(normed, *part("token1"))), *part("token2")).transpose(1, 2)
        if number == settings.layers - 1:
            x = select(x, places)
        normed = layer_norm(x, *part("norm2"))
        x = x + linear(activation(linear(normed, *part("channel1"))), *part("channel2"))
    return x
