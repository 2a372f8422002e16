"""One loaded language model, and the few things the study asks of it.

What its parts are called and in which order they work is data, in `shortcuts/families.py`. Nothing here, or anywhere
else in the project, knows one architecture from another.

Hidden states follow one convention, `CONVENTION`: h_0 enters the first block, h_i leaves block i, and h_L is taken
before the final norm, which belongs to the prediction head.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from shortcuts.discovery import discover
from shortcuts.errors import InputError
from shortcuts.families import FAMILIES, POSITIONS_FOLLOW_PADDING, Family, Step, adjust, find, longest

if TYPE_CHECKING:
    from shortcuts.params import Model

DTYPES = ("float32", "bfloat16", "float16", "auto")
CONVENTION = "h_0 enters block 1, h_i leaves block i, h_L before the final norm"

# --- one loaded model --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LanguageModel:
    """A frozen language model in evaluation mode, seen through its family."""

    name: str
    network: Any  # a Hugging Face model with its prediction head
    family: Family
    identity: Mapping[str, Any]  # id, revision, SHA-256 of the weights, …: what an artifact's card records
    mask_token: int | None = None  # of a masked model

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.network.get_submodule(self.family.blocks))

    @property
    def layers(self) -> int:
        """L, the number of blocks; the layers of hidden states are 0..L."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        return width(self.network.config)

    @property
    def vocabulary(self) -> int:
        return self.network.config.get_text_config().vocab_size

    @property
    def max_tokens(self) -> int | None:
        """The longest sentence the model can read; None where it sets no limit."""
        return longest(self.network.config, self.family)

    @property
    def device(self) -> torch.device:
        """Where token ids go in; the blocks of a model loaded with a device map may lie elsewhere."""
        return next(self.network.parameters()).device

    def encode(self, ids: Tensor, attention_mask: Tensor | None) -> None:
        """Run the blocks on token ids (batch, tokens), without the head; hooks see what happens."""
        options = {"use_cache": False} if self.family.causal else {}
        self.network.base_model(input_ids=ids, attention_mask=attention_mask, **options)

    def decode(self, states: Tensor) -> Tensor:
        """Logits (..., V) of states (..., d) read as if they were h_L: final norm (if any), then head, once."""
        norm = () if self.family.final_norm is None else (self.family.final_norm,)
        modules = [self.network.get_submodule(path) for path in (*norm, *self.family.head)]
        states = self._enter(modules[0], states)
        for module in modules:
            states = module(states)
        return adjust(self.family, self.network.config, states)

    def sites(
        self,
        block: int,
        states: Tensor,
        attend: Callable[[Tensor], Tensor],
        stand_ins: Mapping[int, Tensor] | None = None,
    ) -> list[Tensor]:
        """The vectors of one block before its first and after each of its sub-steps: tensors like `states`.

        block: 0..L-1; states (..., d): site 0, the block's input.
        attend: the output of the attention sub-step from its input.
        stand_ins: sub-step a -> matrix (d, d) that takes the place of the genuine sub-step, as `matrix @ site`.

        With no stand-ins the last site is the output of the genuine block.
        """
        module = self.blocks[block]
        stand_ins = stand_ins or {}
        sites = [self._enter(module, states)]
        for a, (step, source) in enumerate(zip(self.family.steps, self.family.sources, strict=True)):
            value = sites[source]
            if a in stand_ins:
                matrix = stand_ins[a].to(value.device)
                value = (value.to(matrix.dtype) @ matrix.T).to(value.dtype)
            elif step.part == "attention":
                value = attend(value).to(device=value.device, dtype=value.dtype)
            elif step.part == "residual":
                for site in step.adds:
                    value = value + sites[site]
            else:
                for path in step.modules:
                    residual = (torch.zeros_like(value),) if step.takes_residual else ()
                    value = module.get_submodule(path)(value, *residual)
            sites.append(value)
        return sites

    def _enter(self, module: nn.Module, states: Tensor) -> Tensor:
        """States as a module of this model reads them: on its device, in the precision of the weights."""
        parameter = next(module.parameters(), states)
        return states.to(device=parameter.device, dtype=self.network.dtype)

    @contextmanager
    def watch(self, watcher: Watcher) -> Iterator[None]:
        """Tell `watcher` what passes while the model runs; the hooks are always removed."""
        handles = []
        attention = self._attention
        try:
            for number, block in enumerate(self.blocks):
                if number == 0:
                    handles.append(block.register_forward_pre_hook(_on_input(watcher.state, 0), with_kwargs=True))
                handles.append(block.register_forward_hook(_on_output(watcher.state, number + 1)))
                if attention is None:
                    continue
                first = block.get_submodule(attention.modules[0])
                last = block.get_submodule(attention.output or attention.modules[-1])
                handles += [
                    first.register_forward_pre_hook(_on_rest(watcher.attention_call, number), with_kwargs=True),
                    last.register_forward_hook(_on_output(watcher.attention_output, number)),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def attention(self, block: int, call: Call) -> Callable[[Tensor], Tensor]:
        """The genuine attention sub-step of a block, as a function of its input alone.

        call: what the model itself passed besides the input (masks, positions), as a `Watcher` saw it.
        """
        step = self._attention
        assert step is not None
        first, *rest = [self.blocks[block].get_submodule(path) for path in step.modules]
        arguments, options = call

        def attend(states: Tensor) -> Tensor:
            others = (torch.zeros_like(states), *arguments[1:]) if step.takes_residual else arguments
            value = _tensor(first(states, *others, **options))
            for module in rest:
                value = module(value)
            return value

        return attend

    @property
    def _attention(self) -> Step | None:
        return next((step for step in self.family.steps if step.part == "attention"), None)


Call = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword arguments


class Watcher:
    """What can be seen while a model runs: override what you need. Blocks are numbered 0..L-1, layers 0..L."""

    def state(self, layer: int, states: Tensor) -> None: ...  # h_layer, (batch, tokens, d)
    def attention_call(self, block: int, call: Call) -> None: ...  # its arguments besides the input
    def attention_output(self, block: int, states: Tensor) -> None: ...  # (batch, tokens, d)


def _tensor(output: Any) -> Tensor:
    # Some modules return a tuple or list whose first entry is the state, some the bare state.
    return output[0] if isinstance(output, (tuple, list)) else output


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    if args:
        return args[0], (args[1:], kwargs)
    rest = dict(kwargs)
    # Nearly every block calls its input so; in one that does not, the input is the first tensor.
    name = "hidden_states" if "hidden_states" in rest else next(k for k, v in rest.items() if isinstance(v, Tensor))
    return rest.pop(name), ((), rest)


def _on_input(tell: Callable[[int, Tensor], None], number: int) -> Callable[..., None]:
    return lambda module, args, kwargs: tell(number, _split(args, kwargs)[0])


def _on_rest(tell: Callable[[int, Call], None], number: int) -> Callable[..., None]:
    return lambda module, args, kwargs: tell(number, _split(args, kwargs)[1])


def _on_output(tell: Callable[[int, Tensor], None], number: int) -> Callable[..., None]:
    return lambda module, args, output: tell(number, _tensor(output))


# --- loading -----------------------------------------------------------------------------------------------


def load_model(
    path: str | Path,
    *,
    revision: str | None = None,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    device_map: str | Mapping[str, int | str] | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a checkpoint (hub id or local folder) in evaluation mode.

    device: `auto` (CUDA, else MPS, else CPU) or a torch device.
    dtype: precision of the weights and of the model's own arithmetic: float32, bfloat16, float16, or auto, which takes
        the checkpoint's. Whatever is recorded of the model is float32.
    device_map: spreads the blocks over several devices, as transformers' argument of this name; `device` is then
        where token ids go in. Needs the extra `large`.
    trust_remote_code: run Python code that comes with the checkpoint. Off unless you know its authors.

    Raises `InputError` for a folder or hub id that cannot be loaded, a quantised checkpoint, one without a head or with
    more blocks than its configuration, and a model whose parts are neither declared in `FAMILIES` nor found by
    structure.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; use {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    config, family = load_config(path, revision, trust_remote_code=trust_remote_code)
    auto = AutoModelForCausalLM if family.causal else AutoModelForMaskedLM
    placed = {} if device_map is None else {"device_map": device_map}
    network, loaded = _from_pretrained(
        auto,
        path,
        revision,
        trust_remote_code=trust_remote_code,
        config=config,
        dtype=dtype if dtype == "auto" else getattr(torch, dtype),
        output_loading_info=True,
        **placed,
    )
    _fuse_activations(network)
    missing = sorted(loaded["missing_keys"])
    if missing:  # the library would fill them with random numbers and say so in passing
        raise InputError(
            f"{path} lacks {len(missing)} weights, such as {missing[0]}, of {type(network).__name__}; give a "
            "checkpoint that was saved with its language-modelling head"
        )
    if device_map is None:
        network = network.to(choose_device(device))
    mask_token = None
    if not family.causal:
        mask_token = load_tokenizer(path, revision, trust_remote_code=trust_remote_code).mask_token_id
        if mask_token is None:
            raise InputError(f"{path} is a masked model but its tokenizer has no mask token; check the checkpoint")
    model = wrap(network, name=name, path=path, revision=revision, mask_token=mask_token, device_map=device_map)
    _check_blocks(model, loaded["unexpected_keys"], path)
    return model


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
        entry.path,
        revision=entry.revision,
        name=name,
        device=device,
        dtype=entry.dtype,
        device_map=entry.device_map,
        trust_remote_code=entry.trust_remote_code,
    )


def wrap(
    network: Any,
    *,
    name: str | None = None,
    path: str | Path = "in memory",
    revision: str | None = None,
    mask_token: int | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
) -> LanguageModel:
    """A Hugging Face model with its prediction head, already in memory, as a `LanguageModel`."""
    network = network.eval().requires_grad_(False)
    away = [key for key, parameter in network.named_parameters() if parameter.is_meta]
    if away:
        raise InputError(
            f"{path}: device_map leaves {len(away)} weights, such as {away[0]}, on no device; what does not fit in "
            "memory cannot be used here, so give a device_map without disk or cpu offload"
        )
    family = family_of(network.config, path, made_as=type(network).__name__)
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
    return LanguageModel(name or str(path), network, family, identity, mask_token)


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

    config = _from_pretrained(AutoConfig, path, revision, trust_remote_code=trust_remote_code)
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

    tokenizer = _from_pretrained(AutoTokenizer, path, revision, trust_remote_code=trust_remote_code)
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
    if blocks is not None and blocks < 1:
        raise InputError(f"{path} has num_hidden_layers = {blocks}, so no blocks; check its config.json")
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
            f"{path} is a model of type {kind!r}, which is neither causal nor masked; declared in "
            f"shortcuts/families.py are {', '.join(FAMILIES)}, and other causal or masked models are read by structure"
        )
    follow = kind in POSITIONS_FOLLOW_PADDING
    return Family(causal=not masked, blocks="", head=(), steps=(), positions_follow_padding=follow)


def width(config: Any) -> int:
    """The width d of the hidden states."""
    return config.get_text_config().hidden_size


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else CPU; anything else is a torch device that must exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} is not available here; use auto or cpu") from error
    return device


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """The precision of matrix products of float32 inside: `float32`, `tf32` (CUDA only) or `bf16`.

    Norms, softmax and the sums of the residual stream stay float32, and so does what is float64.
    """
    if precision == "tf32" and device.type != "cuda":
        raise InputError(f"extract.precision is tf32, which only CUDA has, but the device is {device.type}; use bf16")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def computing_config(config: Any) -> dict[str, Any]:
    """What a configuration says of the computation: the same weights compute something else with another epsilon."""
    values = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in values.items() if not _SAYS_NOTHING.search(key)}


# Who made it with what, how it is trained, what is returned in which form and kept for later.
_SAYS_NOTHING = re.compile(
    r"^(_name_or_path|transformers_version|architectures|dtype|torch_dtype|auto_map|use_cache|initializer_.*|summary_.*"
    r"|classifier_.*|output_.*|return_dict|problem_type|task_specific_params|id2label|label2id)$|dropout|_pdrop$"
)


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the names and float32 bytes of all parameters and stored statistics, in order of name."""
    stored = network.state_dict()
    statistics = {name: buffer for name, buffer in network.named_buffers() if name in stored}  # as of a batch norm
    digest = hashlib.sha256()
    for name, tensor in sorted({**dict(network.named_parameters()), **statistics}.items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().float().cpu().contiguous().numpy())  # type: ignore[arg-type]
    return digest.hexdigest()


def _from_pretrained(auto: Any, path: str | Path, revision: str | None, **options: Any) -> Any:
    try:
        return auto.from_pretrained(str(path), revision=revision, **options)
    except Exception as error:  # a damaged or hostile checkpoint may make the library fail in any way
        if isinstance(error, InputError):
            raise
        if "trust_remote_code" in str(error):
            raise InputError(
                f"{path} comes with code of its own, which was not run; if you trust its authors, set "
                "trust_remote_code: true in its entry of the registry"
            ) from error
        kind = "a checkpoint folder" if Path(path).is_dir() else "a local folder or a hub id that can be reached"
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load {path} as {kind}: {reason}") from error
