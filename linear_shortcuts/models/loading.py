"""From a checkpoint, a hub id or a network in memory to a `LanguageModel`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from linear_shortcuts.files import InputError
from linear_shortcuts.models import gguf_files, hub, products
from linear_shortcuts.models.checkpoints import check_head, check_names, check_place, check_width, is_there
from linear_shortcuts.models.discovery import discover
from linear_shortcuts.models.families import (
    FAMILIES,
    POSITIONS_FOLLOW_PADDING,
    Family,
    find,
    longest,
    without_head,
)
from linear_shortcuts.models.identity import computing_config, weights_sha256
from linear_shortcuts.models.language_model import LanguageModel
from linear_shortcuts.models.verification import verify
from linear_shortcuts.settings.devices import choose_device

if TYPE_CHECKING:
    from linear_shortcuts.settings import Model

MOST_BLOCKS = 1000  # the deepest models that were published have 126; to build 10,000 takes minutes and gigabytes
DTYPES = ("float32", "bfloat16", "float16", "auto")


def load_model(
    path: str | Path,
    *,
    revision: str | None = None,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    device_map: str | Mapping[str, int | str] | None = None,
    trust_remote_code: bool = False,
    gguf_file: str | None = None,
) -> LanguageModel:
    """Load a checkpoint (hub id, local folder, or GGUF file) in evaluation mode.

    device: `auto` (CUDA, else MPS, else CPU) or a torch device.
    dtype: precision of the weights and of the model's own arithmetic: float32, bfloat16, float16, or auto, which takes
        the checkpoint's. Whatever is recorded of the model is float32.
    device_map: spreads the blocks over several devices, as transformers' argument of this name; `device` is then
        where token ids go in. Needs the extra `large`.
    trust_remote_code: run Python code that comes with the checkpoint. Off unless you know its authors.
    gguf_file: a GGUF file in that folder or repository, as transformers' argument of this name; a path that ends in
        `.gguf` does the same. Its weights are dequantised to `dtype`. Needs the extra `gguf`.

    A masked checkpoint whose weights lack the whole head is loaded without one, as an encoder.

    Raises `InputError` for a folder or hub id that cannot be loaded, a quantised checkpoint, one that lacks other
    weights or has more blocks than its configuration, and a model whose parts are neither declared in `FAMILIES` nor
    found by structure.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; use {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    path = path if gguf_file is None else f"{path}/{gguf_file}"
    packed = gguf_files.is_gguf(path)
    with gguf_files.opened_once(path):
        config, family = load_config(path, revision, trust_remote_code=trust_remote_code)
        check_width(config, path)
        options: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
        options |= gguf_files.options() if packed else {}
        options["dtype"] = dtype if dtype == "auto" else getattr(torch, dtype)
        network, unexpected = _load_network(path, revision, config, family, trust_remote_code, **options)
        if packed:
            gguf_files.unpack(network)
        _fuse_activations(network)
        products.widen(network)
        if device_map is None:
            network = network.to(choose_device(device))
        mask_token = None
        if not family.causal and not _is_base(network):
            mask_token = load_tokenizer(path, revision, trust_remote_code=trust_remote_code).mask_token_id
            if mask_token is None:
                raise InputError(f"{path} is a masked model but its tokenizer has no mask token; check the checkpoint")
        model = wrap(network, name=name, path=path, revision=revision, mask_token=mask_token, device_map=device_map)
        if packed:
            model = replace(model, identity={**model.identity, "gguf": gguf_files.identity(path, revision)})
        _check_blocks(model, unexpected, path)
        return replace(model, unused=tuple(unexpected))


def has_head(path: str | Path, revision: str | None = None, *, trust_remote_code: bool = False) -> bool:
    """Whether a checkpoint has a prediction head, and so a mask token to predict behind; see `load_model`.

    Only its weights tell, whatever its configuration calls it, so that those of a masked one are loaded.
    """
    config, family = load_config(path, revision, trust_remote_code=trust_remote_code)
    return family.causal or not _is_base(_load_network(path, revision, config, family, trust_remote_code)[0])


def _load_network(
    path: str | Path, revision: str | None, config: Any, family: Family, trust_remote_code: bool, **options: Any
) -> tuple[Any, list[str]]:
    """The network of a checkpoint, without a head if its weights have none, and the names of weights left over."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    auto = AutoModelForCausalLM if family.causal else AutoModelForMaskedLM
    known = {"config": config, "trust_remote_code": trust_remote_code, "output_loading_info": True}
    network, loaded = _from_pretrained(auto, path, revision, **known, **options)
    missing, unexpected = sorted(loaded["missing_keys"]), sorted(loaded["unexpected_keys"])
    if not family.causal and family.blocks and missing and _whole_head(network) <= set(missing):
        network, missing = network.base_model, [name for name in missing if not _of_head(network, name)]
    check_names(missing, unexpected, type(network).__name__, path)
    return network, unexpected


def _whole_head(network: Any) -> set[str]:
    """The names of the weights that a model has beside those of its base."""
    return {name for name, _ in network.named_parameters() if _of_head(network, name)}


def _of_head(network: Any, name: str) -> bool:
    return not name.startswith(f"{network.base_model_prefix}.")


def _is_base(network: Any) -> bool:
    """Whether a network is the base of a model, without its head."""
    return network.base_model is network


def _check_blocks(model: LanguageModel, unexpected: Iterable[str], path: str | Path) -> None:
    """Raise `InputError` if the checkpoint's unused weights are of blocks that the configuration leaves out."""
    blocks = model.family.blocks
    without_base = blocks.partition(".")[2] or blocks  # as a checkpoint that was saved without its head has them
    for key in sorted(unexpected):
        found = re.match(rf"(?:{re.escape(blocks)}|{re.escape(without_base)})\.(\d+)\.", key)
        if found and int(found[1]) >= model.layers:
            raise InputError(
                f"{path} has num_hidden_layers = {model.layers} but weights of more blocks, such as {key}; set it to "
                "the number of blocks the checkpoint was trained with"
            )


def _fuse_activations(network: nn.Module) -> None:
    """Compute the tanh form of GELU in one pass over memory: the library's, equal to the last digits, takes eight.

    On a CPU that is a quarter of the time of a block.
    """
    from transformers.activations import NewGELUActivation

    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def load_registered(entry: Model, name: str, device: str = "auto") -> LanguageModel:
    """Load the checkpoint of an entry of the registry, as the entry says."""
    return load_model(
        entry.checkpoint,
        revision=entry.revision,
        name=name,
        device=device,
        dtype=entry.dtype,
        device_map=entry.device_map,
        trust_remote_code=entry.trust_remote_code,
    )


def load_registered_tokenizer(entry: Model) -> Any:
    """Load the tokenizer of an entry of the registry, as the entry says."""
    return load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)


def wrap(
    network: Any,
    *,
    name: str | None = None,
    path: str | Path = "in memory",
    revision: str | None = None,
    mask_token: int | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
) -> LanguageModel:
    """A Hugging Face model with its prediction head, or an encoder without one, in memory, as a `LanguageModel`."""
    network = network.eval().requires_grad_(False)
    away = [key for key, parameter in network.named_parameters() if parameter.is_meta]
    if away:
        raise InputError(
            f"{path}: device_map leaves {len(away)} weights, such as {away[0]}, on no device; what does not fit in "
            "memory cannot be used here, so give a device_map without disk or cpu offload"
        )
    _plain(network)
    family = family_of(network.config, path, made_as=type(network).__name__)
    if family.blocks and not family.causal and _is_base(network):
        family = without_head(family, network.base_model_prefix)
    family = _present(family, network) if family.blocks else discover(network, family, path)
    longest(network.config, family)  # raises where it cannot be told
    identity = {
        "id": str(path),
        "revision": revision,
        "weights_sha256": weights_sha256(network),
        "dtype": str(network.dtype).removeprefix("torch."),
        "device_map": device_map,
        "config": computing_config(network.config),
    }
    model = LanguageModel(name or str(path), network, family, identity, mask_token)
    verify(model, path)
    return model


def _plain(network: Any) -> None:
    """Make every forward pass return what a plain one does: a checkpoint's configuration may ask for another form.

    Feed-forward networks that work in chunks would refuse sentences of other lengths.
    """
    for config in {id(config): config for config in (network.config, network.config.get_text_config())}.values():
        config.return_dict, config.output_hidden_states, config.use_cache = True, False, False
        config.output_attentions = False
    for module in network.modules():
        if getattr(module, "chunk_size_feed_forward", 0):
            module.chunk_size_feed_forward = 0


def _present(family: Family, network: nn.Module) -> Family:
    """The family without the optional modules that this network does not have."""
    modules = dict(network.named_modules())
    asked = [path for path in (family.final_norm, *family.head) if path is not None]
    there = {path: path.rstrip("?") for path in asked if not path.endswith("?") or path.rstrip("?") in modules}
    return replace(
        family,
        final_norm=there.get(family.final_norm or ""),
        head=tuple(there[path] for path in family.head if path in there),
    )


def load_config(
    path: str | Path, revision: str | None = None, *, trust_remote_code: bool = False
) -> tuple[Any, Family]:
    """The checkpoint's configuration and its family, without the weights; see `family_of`."""
    from transformers import AutoConfig

    if not gguf_files.is_gguf(path):  # which is one file, with all there is in it
        check_place(path)
        if not is_there(path):
            hub.check_repository(path, revision)
    config = _from_pretrained(AutoConfig, path, revision, trust_remote_code=trust_remote_code)
    check_head(config, path)
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        values = quantised if isinstance(quantised, Mapping) else getattr(quantised, "__dict__", {})
        raise InputError(
            f"{path} is quantised ({values.get('quant_method', 'unknown method')}): its weights are no matrices to "
            "compute with; name the checkpoint it was made from, with dtype: bfloat16 if memory is short"
        )
    return config, family_of(config, path)


def load_tokenizer(path: str | Path, revision: str | None = None, *, trust_remote_code: bool = False) -> Any:
    """The checkpoint's own tokenizer, used as published.

    Raises `InputError` if it cannot be loaded or knows special tokens only.
    """
    from transformers import AutoTokenizer

    with gguf_files.opened_once(path):
        tokenizer = _from_pretrained(AutoTokenizer, path, revision, trust_remote_code=trust_remote_code)
        if gguf_files.is_gguf(path):
            gguf_files.cut_as_trained(tokenizer, path, revision)
    # Where its files are missing the library makes up one of the right class, with special tokens alone.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InputError(
            f"{path} has a tokenizer of {len(tokenizer)} special tokens and no others, as where its files are missing; "
            "add those the model was trained with, such as tokenizer.json"
        )
    return tokenizer


def family_of(config: Any, path: str | Path, *, made_as: str = "") -> Family:
    """The family of a Hugging Face configuration; made_as: the class of the model, where there is one already.

    Of a model type that no family lists only `causal` is known; the rest is found when the weights are loaded.
    Raises `InputError` if the model is neither causal nor masked, or has no blocks.
    """
    from transformers.models.auto import modeling_auto

    text = config.get_text_config()
    blocks = getattr(text, "num_hidden_layers", None)
    if blocks is not None and not 1 <= blocks <= MOST_BLOCKS:
        so = "so no blocks" if blocks < 1 else f"more than the {MOST_BLOCKS:,} that are read"
        raise InputError(f"{path} has num_hidden_layers = {blocks}, {so}; check its config.json")
    heads = getattr(text, "num_attention_heads", None)
    if type(heads) is int and heads < 0:  # some models without attention say 0
        raise InputError(f"{path} has num_attention_heads = {heads}; check its config.json")
    if getattr(text, "use_bidirectional_attention", None) in (True, "all"):
        raise InputError(
            f"{path} sets use_bidirectional_attention: its tokens see those behind them, so that it is neither a "
            "causal model nor a masked one; it is not supported"
        )
    known = find(config)
    if known is not None:
        for key, needed in known.needs.items():
            if getattr(config, key, None) != needed:
                raise InputError(
                    f"{path} has {key} = {getattr(config, key, None)}, so that the padding of a batch changes what the "
                    f"model says of a sentence; only models trained with {key} = {needed} can be studied"
                )
        return known
    kind = str(getattr(config, "model_type", None))
    made_for = made_as or " ".join(getattr(config, "architectures", None) or ())
    masked = kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if masked and causal:  # the library has both; what was trained?
        masked = "MaskedLM" in made_for
    elif not (masked or causal):
        masked, causal = "MaskedLM" in made_for, "CausalLM" in made_for
    if getattr(config, "is_encoder_decoder", False) or not (masked or causal):
        raise InputError(
            f"{path} is a model of type {kind!r}, which is neither causal nor masked; declared are "
            f"{', '.join(FAMILIES)}, and other causal or masked models are read by structure"
        )
    follow = kind in POSITIONS_FOLLOW_PADDING
    return Family(causal=not masked, blocks="", head=(), steps=(), positions_follow_padding=follow)


def _from_pretrained(auto: Any, path: str | Path, revision: str | None, **options: Any) -> Any:
    if gguf_files.is_gguf(path):
        return _from_gguf(auto, path, revision, **options)
    away = not is_there(path) and hub.out_of_reach(path)
    try:
        return auto.from_pretrained(str(path), revision=revision, local_files_only=away, **options)
    except Exception as error:  # a damaged or hostile checkpoint may make the library fail in any way
        if isinstance(error, InputError):
            raise
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{path} comes with code of its own, which was not run; if you trust its authors, set "
                "trust_remote_code: true in its entry of the registry"
            ) from error
        kind = "a checkpoint folder" if Path(path).is_dir() else "a local folder or a hub id that can be reached"
        reason = "the hub cannot be reached, and it is not in the cache" if away else " ".join(str(error).split())[:200]
        raise InputError(f"cannot load {path} as {kind}: {reason}") from error


def _from_gguf(auto: Any, path: str | Path, revision: str | None, **options: Any) -> Any:
    folder, file = gguf_files.split(path)
    try:
        with gguf_files.reading():
            return auto.from_pretrained(folder, revision=revision, gguf_file=file, **options)
    except Exception as error:  # a damaged file may make the readers fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"cannot load {path} as a GGUF file: {reason}") from error
