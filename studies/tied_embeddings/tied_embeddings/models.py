"""The study's models as ordinary modules, one network each: transformer, LSTM and MLP-mixer.

Every model is an `EmbeddingModel`: input embeddings, a body that turns vectors (n, N, d) into vectors (n, N, d), and
output embeddings E with logits = h Eᵀ. Both embeddings are drawn from N(0, 1); where they are tied they are one object.
None has positions but what its body brings along: the transformer none at all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_shortcuts.files import InputError
from tied_embeddings.settings import ModelSettings

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class EmbeddingModel(nn.Module):
    """ids (n, N) to logits (n, N, vocabulary)."""

    def __init__(
        self, settings: ModelSettings, vocabulary: int, length: int | None, padding: int | None = None
    ) -> None:
        super().__init__()
        self.settings, self.length, self.padding = settings, length, padding
        self.input_embeddings = nn.Embedding(vocabulary, settings.embedding)
        self.body = BODIES[settings.name](settings, length)
        self.output_embeddings = (
            self.input_embeddings if settings.tied else nn.Embedding(vocabulary, settings.embedding)
        )

    def forward(self, ids: Tensor, where: Tensor | None = None) -> Tensor:
        """Logits everywhere, or only at the places of the mask `where` (n, N): (m, vocabulary)."""
        mask = None if self.padding is None else ids == self.padding
        vectors = self.body(self.input_embeddings(ids), mask)
        return (vectors if where is None else vectors[where]) @ self.output_embeddings.weight.T


class TransformerBody(nn.ModuleList):
    """Post-norm encoder layers (Vaswani et al. 2017)."""

    def __init__(self, settings: ModelSettings, length: int | None) -> None:
        super().__init__(
            nn.TransformerEncoderLayer(
                settings.embedding,
                settings.heads or 1,
                settings.feedforward,
                settings.dropout,
                ACTIVATIONS[settings.activation],
                batch_first=True,
            )
            for _ in range(settings.layers)
        )

    def forward(self, vectors: Tensor, padding: Tensor | None) -> Tensor:
        for layer in self:
            vectors = layer(vectors, src_key_padding_mask=padding)
        return vectors


class LstmBody(nn.Module):
    """A bidirectional LSTM (Hochreiter and Schmidhuber 1997) and a linear layer back to the embedding's size."""

    def __init__(self, settings: ModelSettings, length: int | None) -> None:
        super().__init__()
        # One layer has no dropout between layers, of which PyTorch would warn.
        dropout = settings.dropout if settings.layers > 1 else 0.0
        width = settings.feedforward
        self.lstm = nn.LSTM(
            settings.embedding, width, settings.layers, batch_first=True, dropout=dropout, bidirectional=True
        )
        self.linear = nn.Linear(2 * width, settings.embedding)

    def forward(self, vectors: Tensor, padding: Tensor | None) -> Tensor:
        return self.linear(self.lstm(vectors)[0])


class MixerBody(nn.ModuleList):
    """Layers that mix along positions, then along channels (Tolstikhin et al. 2021), for sequences of one length."""

    def __init__(self, settings: ModelSettings, length: int | None) -> None:
        if length is None:
            raise InputError("an mlp needs sequences of one length; choose transformer or lstm for this dataset")
        super().__init__(MixerLayer(settings, length) for _ in range(settings.layers))
        self.length = length

    def forward(self, vectors: Tensor, padding: Tensor | None) -> Tensor:
        if vectors.shape[1] != self.length:
            raise ValueError(f"sequences have {vectors.shape[1]} symbols but this mixer was made for {self.length}")
        for layer in self:
            vectors = layer(vectors)
        return vectors


class MixerLayer(nn.Module):
    def __init__(self, settings: ModelSettings, length: int) -> None:
        super().__init__()
        d, tokens = settings.embedding, settings.token_feedforward or settings.feedforward
        self.norm1, self.token1, self.token2 = nn.LayerNorm(d), nn.Linear(length, tokens), nn.Linear(tokens, length)
        self.norm2, self.channel1 = nn.LayerNorm(d), nn.Linear(d, settings.feedforward)
        self.channel2 = nn.Linear(settings.feedforward, d)
        self.activation, self.dropout = ACTIVATIONS[settings.activation], nn.Dropout(settings.dropout)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.token2(self.dropout(self.activation(self.token1(self.norm1(x).mT))))
        x = x + self.dropout(mixed.mT)
        return x + self.dropout(self.channel2(self.dropout(self.activation(self.channel1(self.norm2(x))))))


BODIES: dict[str, Callable[[ModelSettings, int | None], nn.Module]] = {
    "transformer": TransformerBody,
    "lstm": LstmBody,
    "mlp": MixerBody,
}


def new_model(
    settings: ModelSettings, vocabulary: int, length: int | None, seed: int, padding: int | None = None
) -> EmbeddingModel:
    """A model with the weights that `seed` gives; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddingModel(settings, vocabulary, length, padding)
