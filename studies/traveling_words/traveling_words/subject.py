"""What is studied: a model, its word vectors, and its tokens as strings and bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.models import LanguageModel, load_registered, load_tokenizer
from linear_shortcuts.text import encode
from traveling_words.geometry import Norm, read_norm
from traveling_words.settings import Settings


@dataclass(frozen=True)
class Subject:
    """A causal model with its vocabulary.

    embeddings: (V, d), the word vectors a text is made of.
    readout: (V, d), the word vectors that the final state is compared with; the same matrix where the two are tied.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    final_norm: Norm

    @property
    def embeddings(self) -> Tensor:
        return self.model.network.get_input_embeddings().weight.detach()

    @property
    def readout(self) -> Tensor:
        return self.model.network.get_output_embeddings().weight.detach()

    @property
    def tied(self) -> bool:
        return self.embeddings.data_ptr() == self.readout.data_ptr()

    def phrase(self, text: str) -> Tensor:
        """Ids (n,) of a phrase as the model reads it.

        Raises `InputError` for characters that its tokenizer does not know, and for fewer than two tokens or more than
        the model can read.
        """
        try:
            ids = self.vocabulary.sentence(text)
        except InputError as error:
            raise InputError(f"trajectory.phrase is {text!r}, but {error}") from error
        limit = self.model.max_tokens
        if len(ids) < 2:
            raise InputError(f"trajectory.phrase has {len(ids)} tokens; a path to the next word needs at least two")
        if limit is not None and len(ids) > limit:
            raise InputError(
                f"trajectory.phrase has {len(ids)} tokens but {self.model.name} reads at most {limit}; shorten it"
            )
        return ids

    @property
    def card(self) -> dict[str, Any]:
        """What the study's files record of the model."""
        return {"model": self.model.name, **self.model.identity}

    def recipe(self, **settings: Any) -> dict[str, Any]:
        """What partial work depends on besides code: the model and some settings."""
        return {"card": self.card, "settings": settings}


def load_subject(settings: Settings, device: str) -> Subject:
    """The model that params.yaml names; `InputError` if the study's questions make no sense for it."""
    entry = settings.registered()
    model = load_registered(entry, settings.model, device)
    tokenizer = load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)
    return subject_of(model, tokenizer)


def subject_of(model: LanguageModel, tokenizer: Any) -> Subject:
    """A model that is already in memory, with its tokenizer."""
    family = model.family
    if not family.causal or family.final_norm is None:
        raise InputError(
            f"{model.name} has no {'final norm' if family.causal else 'causal attention'}; this study follows words "
            "through causal models that end in a norm, such as gpt2"
        )
    width = model.network.get_input_embeddings().weight.shape[1]
    if width != model.width:
        raise InputError(
            f"{model.name} has word vectors of width {width} but states of width {model.width}; this study needs the "
            "same space for both"
        )
    norm = read_norm(model.network.get_submodule(family.final_norm))
    return Subject(model, Vocabulary(tokenizer), norm)


# --- tokens ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a Hugging Face tokenizer as bytes and as strings."""

    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the tokens that the tokenizer puts around a sentence."""
        return encode(self.tokenizer, [text], add_special_tokens=False)["input_ids"][0]

    def sentence(self, text: str) -> Tensor:
        """Ids of a text as the model reads it, with the tokens that belong around a sentence."""
        return torch.tensor(encode(self.tokenizer, [text])["input_ids"][0], dtype=torch.int64)

    def bytes(self, token: int) -> bytes:
        """The bytes a token stands for; those of its name where it stands for none, as beyond the tokenizer's end."""
        piece = self._pieces.get(token)
        if piece is None:
            return f"[unused {token}]".encode()
        if self._byte_level and all(character in _BYTES for character in piece):
            return bytes(_BYTES[character] for character in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):  # a byte of no token, in SentencePiece
            return bytes.fromhex(piece[3:5])
        return piece.replace("\u2581", " ").encode()

    def text(self, token: int) -> str:
        """The token as a string; bytes that are no UTF-8 by themselves become U+FFFD."""
        return self.bytes(token).decode("utf-8", "replace")

    @cached_property
    def _pieces(self) -> Mapping[int, str]:
        return {token: piece for piece, token in self.tokenizer.get_vocab().items()}

    @cached_property
    def _byte_level(self) -> bool:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            return False
        decoder = json.loads(backend.to_str())["decoder"] or {}
        return "ByteLevel" in [kind["type"] for kind in (decoder, *decoder.get("decoders", ())) if "type" in kind]


def _byte_characters() -> dict[str, int]:
    """Character -> byte of byte-level BPE (Radford et al. 2019): printable bytes stand for themselves, the others for
    the characters from U+0100 on, in order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_characters()
