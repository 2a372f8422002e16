"""Model families as data, and the few things the study asks of a model.

A family is one declarative entry of `FAMILIES`: where the blocks, the final norm and the head are, and the ordered
sub-steps of a block. Nothing else in the project knows one architecture from another.

Hidden states follow one convention, `CONVENTION`: h_0 enters the first block, h_i leaves block i, and h_L is taken
before the final norm, which belongs to the prediction head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shortcuts.errors import InputError

CONVENTION = "h_0 enters block 1, h_i leaves block i, h_L before the final norm"

# --- families ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One sub-step of a block: it turns site a into site a + 1.

    part: what the step is; `residual` adds the site `adds` to its input.
    modules: dotted paths inside the block, applied one after the other.
    """

    part: Literal["norm", "attention", "feed_forward", "residual"]
    modules: tuple[str, ...] = ()
    adds: int | None = None


@dataclass(frozen=True)
class Family:
    """Where the parts of an architecture are. Paths are dotted and start at the model with its prediction head."""

    causal: bool
    blocks: str
    final_norm: str | None  # applied to h_L before the head; None where the last block already ends in one
    head: str
    steps: tuple[Step, ...]


FAMILIES: Mapping[str, Family] = {
    "gpt2": Family(
        causal=True,
        blocks="transformer.h",
        final_norm="transformer.ln_f",
        head="lm_head",
        steps=(
            Step("norm", ("ln_1",)),
            Step("attention", ("attn",)),
            Step("residual", adds=0),
            Step("norm", ("ln_2",)),
            Step("feed_forward", ("mlp",)),
            Step("residual", adds=3),
        ),
    ),
    "bert": Family(
        causal=False,
        blocks="bert.encoder.layer",
        final_norm=None,
        head="cls",
        steps=(
            Step("attention", ("attention.self", "attention.output.dense")),
            Step("residual", adds=0),
            Step("norm", ("attention.output.LayerNorm",)),
            Step("feed_forward", ("intermediate", "output.dense")),
            Step("residual", adds=3),
            Step("norm", ("output.LayerNorm",)),
        ),
    ),
}

# The mappings that replace a part of every later block by its linear stand-in, by the name of the study.
PARTS: Mapping[str, str] = {"mat_attn": "attention", "mat_ffn": "feed_forward", "mat_ln1_ln2": "norm"}


def stand_in_steps(family: Family, part: str) -> list[int]:
    """The sub-steps (a of a -> a + 1) of a block that `part` names: attention, feed_forward or norm."""
    return [a for a, step in enumerate(family.steps) if step.part == part]


# --- one loaded model --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LanguageModel:
    """A frozen language model in evaluation mode, seen through its family."""

    name: str
    network: Any  # a Hugging Face model with its prediction head
    family: Family
    identity: Mapping[str, Any]  # id, revision, SHA-256 of the weights: what an artifact's card records
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
        return self.network.config.hidden_size

    @property
    def vocabulary(self) -> int:
        return self.network.config.vocab_size

    @property
    def max_tokens(self) -> int:
        return self.network.config.max_position_embeddings

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def encode(self, ids: Tensor, attention_mask: Tensor | None) -> None:
        """Run the blocks on token ids (batch, tokens), without the head; hooks see what happens."""
        options = {"use_cache": False} if self.family.causal else {}
        self.network.base_model(input_ids=ids, attention_mask=attention_mask, **options)

    def decode(self, states: Tensor) -> Tensor:
        """Logits (..., V) of states (..., d) read as if they were h_L: final norm (if any), then head, once."""
        if self.family.final_norm is not None:
            states = self.network.get_submodule(self.family.final_norm)(states)
        return self.network.get_submodule(self.family.head)(states)

    def sites(
        self,
        block: int,
        states: Tensor,
        attend: Callable[[Tensor], Tensor],
        stand_ins: Mapping[int, Tensor] | None = None,
    ) -> list[Tensor]:
        """The vectors of one block before its first and after each of its sub-steps: 7 tensors like `states`.

        block: 0..L-1; states (..., d): site 0, the block's input.
        attend: the output of the attention sub-step from its input.
        stand_ins: sub-step a -> matrix (d, d) that takes the place of the genuine sub-step, as `matrix @ site_a`.

        With no stand-ins the last site is the output of the genuine block.
        """
        module = self.blocks[block]
        stand_ins = stand_ins or {}
        sites = [states]
        for a, step in enumerate(self.family.steps):
            value = sites[-1]
            if a in stand_ins:
                value = value @ stand_ins[a].T
            elif step.part == "attention":
                value = attend(value)
            elif step.part == "residual":
                assert step.adds is not None
                value = value + sites[step.adds]
            else:
                for path in step.modules:
                    value = module.get_submodule(path)(value)
            sites.append(value)
        return sites

    @contextmanager
    def watch(self, watcher: Watcher) -> Iterator[None]:
        """Tell `watcher` what passes while the model runs; the hooks are always removed."""
        handles = []
        try:
            for number, block in enumerate(self.blocks):
                if number == 0:
                    handles.append(block.register_forward_pre_hook(_on_input(watcher.state, 0), with_kwargs=True))
                handles.append(block.register_forward_hook(_on_output(watcher.state, number + 1)))
                modules = self._attention_modules(number)
                handles += [
                    modules[0].register_forward_pre_hook(_on_rest(watcher.attention_call, number), with_kwargs=True),
                    modules[-1].register_forward_hook(_on_output(watcher.attention_output, number)),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def attention(self, block: int, call: Call) -> Callable[[Tensor], Tensor]:
        """The genuine attention sub-step of a block, as a function of its input alone.

        call: what the model itself passed besides the input (masks, positions), as a `Watcher` saw it.
        """
        modules = self._attention_modules(block)

        def attend(states: Tensor) -> Tensor:
            value = _tensor(modules[0](states, *call[0], **call[1]))
            for module in modules[1:]:
                value = module(value)
            return value

        return attend

    def _attention_modules(self, block: int) -> list[nn.Module]:
        step = next(step for step in self.family.steps if step.part == "attention")
        return [self.blocks[block].get_submodule(path) for path in step.modules]


Call = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword arguments


class Watcher:
    """What can be seen while a model runs: override what you need. Blocks are numbered 0..L-1, layers 0..L."""

    def state(self, layer: int, states: Tensor) -> None: ...  # h_layer, (batch, tokens, d)
    def attention_call(self, block: int, call: Call) -> None: ...  # its arguments besides the input
    def attention_output(self, block: int, states: Tensor) -> None: ...  # (batch, tokens, d)


def _tensor(output: Any) -> Tensor:
    # Some modules return a tuple whose first entry is the state, some the bare state.
    return output[0] if isinstance(output, tuple) else output


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    if args:
        return args[0], (args[1:], kwargs)
    rest = dict(kwargs)
    return rest.pop("hidden_states"), ((), rest)


def _on_input(tell: Callable[[int, Tensor], None], number: int) -> Callable[..., None]:
    return lambda module, args, kwargs: tell(number, _split(args, kwargs)[0])


def _on_rest(tell: Callable[[int, Call], None], number: int) -> Callable[..., None]:
    return lambda module, args, kwargs: tell(number, _split(args, kwargs)[1])


def _on_output(tell: Callable[[int, Tensor], None], number: int) -> Callable[..., None]:
    return lambda module, args, output: tell(number, _tensor(output))


# --- loading -----------------------------------------------------------------------------------------------


def load_model(
    path: str | Path, *, revision: str | None = None, name: str | None = None, device: str = "auto"
) -> LanguageModel:
    """Load a checkpoint (hub id or local folder) in float32 and evaluation mode.

    device: `auto` (CUDA, else MPS, else CPU) or a torch device.

    Raises `InputError` for a folder or hub id that cannot be loaded, and for a family not in `FAMILIES`.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    config, family = load_config(path, revision)
    auto = AutoModelForCausalLM if family.causal else AutoModelForMaskedLM
    network = _from_pretrained(auto, path, revision, config=config, dtype=torch.float32)
    mask_token = None if family.causal else load_tokenizer(path, revision).mask_token_id
    network = network.to(choose_device(device))
    return wrap(network, name=name, path=path, revision=revision, mask_token=mask_token)


def wrap(
    network: nn.Module,
    *,
    name: str | None = None,
    path: str | Path = "in memory",
    revision: str | None = None,
    mask_token: int | None = None,
) -> LanguageModel:
    """A Hugging Face model with its prediction head, already in memory, as a `LanguageModel`."""
    family = family_of(network.config, path)
    identity = {"id": str(path), "revision": revision, "weights_sha256": weights_sha256(network)}
    return LanguageModel(name or str(path), network.eval().requires_grad_(False), family, identity, mask_token)


def load_config(path: str | Path, revision: str | None = None) -> tuple[Any, Family]:
    """The checkpoint's configuration and its family, without the weights."""
    from transformers import AutoConfig

    config = _from_pretrained(AutoConfig, path, revision)
    return config, family_of(config, path)


def load_tokenizer(path: str | Path, revision: str | None = None) -> Any:
    """The checkpoint's own tokenizer, used as published; `InputError` if it cannot be loaded."""
    from transformers import AutoTokenizer

    return _from_pretrained(AutoTokenizer, path, revision)


def family_of(config: Any, path: str | Path) -> Family:
    """The family of a Hugging Face configuration; `InputError` if it is not one of ours."""
    kind = str(getattr(config, "model_type", None))
    if kind not in FAMILIES:
        raise InputError(
            f"{path} is a model of type {kind!r}; supported are {', '.join(FAMILIES)} "
            "(a family is one entry of FAMILIES in shortcuts/models.py)"
        )
    return FAMILIES[kind]


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


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the names and float32 bytes of all parameters, in order of name."""
    digest = hashlib.sha256()
    for name, parameter in sorted(network.named_parameters()):
        digest.update(name.encode() + b"\0")
        digest.update(parameter.detach().float().cpu().contiguous().numpy())  # type: ignore[arg-type]
    return digest.hexdigest()


def _from_pretrained(auto: Any, path: str | Path, revision: str | None, **options: Any) -> Any:
    try:
        return auto.from_pretrained(str(path), revision=revision, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        kind = "a checkpoint folder" if Path(path).is_dir() else "a local folder or a hub id that can be reached"
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load {path} as {kind}: {reason}") from error
