"""Checkpoints of nanoGPT (github.com/karpathy/nanoGPT) as GPT-2s of transformers, with their characters as a tokenizer.

`ckpt.pt` is what its `train.py` saves: `model_args`, the shape, and `model`, the weights, beside an optimizer's state.
`meta.pkl`, which its preparation of characters writes, has `itos` and `stoi`, from ids to characters and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, artifacts, shown
from linear_shortcuts.files.shapes import Each, Whole, check

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

SHAPE = {"n_layer": "n_layer", "n_head": "n_head", "n_embd": "n_embd", "block_size": "n_positions"}  # theirs: ours
COMPILED = "_orig_mod."  # before every name, where the model was compiled
# PyTorch's linear layers store (out, in); GPT-2 of transformers stores (in, out).
LINEAR = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
MOST_BLOCKS = 1000
_OTHER = "give a ckpt.pt that nanoGPT's train.py wrote"
MASKS = (".attn.bias", ".attn.masked_bias")  # buffers of the causal mask, which are no weights


def load_network(path: str | Path) -> GPT2LMHeadModel:
    """The model of a `ckpt.pt`, in float32; biases that it was trained without are 0.

    Nothing in the file is run. Raises `InputError` for a file that is no checkpoint of nanoGPT, or has other weights
    than its shape says.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    saved = artifacts.load(path)
    if not isinstance(saved, Mapping) or not {"model", "model_args"} <= set(saved):
        raise InputError(f"{path} has no `model` and `model_args`; {_OTHER}")
    shape, weights = saved["model_args"], {}
    check(shape, dict.fromkeys((*SHAPE, "vocab_size"), Whole(1)), f"{path}: `model_args`", _OTHER)
    if shape["n_layer"] > MOST_BLOCKS or shape["n_embd"] % shape["n_head"]:
        sizes = f"{shape['n_layer']:,} blocks of width {shape['n_embd']:,} with {shape['n_head']:,} heads"
        raise InputError(f"{path} claims {sizes}; {_OTHER}")
    check(saved["model"], Each(object), f"{path}: `model`", _OTHER)
    for name, weight in saved["model"].items():
        name = name.removeprefix(COMPILED)
        if not name.endswith(MASKS):
            if not isinstance(weight, Tensor) or not weight.is_floating_point():
                raise InputError(f"{path} has no weights in {shown(name)}; {_OTHER}")
            weights[name] = weight.float().T if name.endswith(LINEAR) else weight.float()
    config = GPT2Config(
        **{ours: shape[theirs] for theirs, ours in SHAPE.items()},
        vocab_size=shape["vocab_size"],
        activation_function="gelu",  # exact, as in nanoGPT since February 2023; the public GPT-2's is the tanh form
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.device("meta"):  # shapes alone: a network of the size that is claimed may not fit in memory
        wanted = GPT2LMHeadModel(config).state_dict()
    complete = _complete(weights, wanted, path)
    network = GPT2LMHeadModel(config)
    network.load_state_dict(complete)
    return network.eval()


def _complete(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """The weights under all names that are wanted, missing biases as zeros."""
    for name in sorted({*weights, *wanted}):
        if name not in weights and name.endswith(".bias"):
            continue
        ours, theirs = (tuple(where[name].shape) if name in where else "none" for where in (wanted, weights))
        if ours != theirs:
            raise InputError(f"{path} has {theirs} for {name} where its `model_args` say {ours}; it is damaged")
    return {name: weights.get(name, torch.zeros(weight.shape)) for name, weight in wanted.items()}


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The characters of a `meta.pkl` as a tokenizer, one token each; a character it does not know is an error.

    Raises `InputError` for a file without a table of single characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids: Any = artifacts.load_mapping(path, "stoi")["stoi"]
    if not isinstance(ids, Mapping) or not all(isinstance(key, str) and len(key) == 1 for key in ids):
        raise InputError(
            f"{path}: `stoi` has more than single characters; give a meta.pkl of a text read by characters"
        )
    if sorted(ids.values(), key=repr) != sorted(range(len(ids)), key=repr) or not ids:
        raise InputError(f"{path}: `stoi` does not number its characters from 0 on; give a meta.pkl of nanoGPT")
    backend = Tokenizer(models.WordLevel(dict(ids)))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)
