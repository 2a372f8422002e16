"""Model families as data: where the parts of an architecture are, and in which order a block applies them.

A family is one declarative entry of `FAMILIES`. A new architecture is one more entry and one more row of
`tests/models/test_families.py`; what is not listed here is looked for by structure, see `discovery`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from linear_shortcuts.files import InputError

Part = Literal["norm", "attention", "feed_forward", "residual"]


@dataclass(frozen=True)
class Step:
    """One sub-step of a block. Step a makes site a + 1; site 0 is the block's input.

    part: what the step is; `residual` adds the sites `adds` to what it reads.
    modules: dotted paths inside the block, applied one after the other.
    reads: the site the step starts from; None: the one before, a.
    takes_residual: the (one) module is also given the stream and adds it to its own output. We give it zeros, so that
        the sum is a step of its own, as in every other family.
    output: where, inside the block, the step's own output can be seen, if that is not what the last module returns.
    """

    part: Part
    modules: tuple[str, ...] = ()
    adds: tuple[int, ...] = ()
    reads: int | None = None
    takes_residual: bool = False
    output: str | None = None


@dataclass(frozen=True)
class Family:
    """Where the parts of an architecture are. Paths are dotted and start at the model with its prediction head.

    model_types: the `model_type` of the configurations that have this layout.
    when: values of the configuration that tell this variant of a model type from another.
    final_norm: applied to h_L before the head; None where the last block already ends in one.
    head: modules applied one after the other. A path that ends in `?` is left out where the model lacks the module.
        None for an encoder, such as one of sentences; see `without_head`.
    steps: the ordered sub-steps of a block; none where only the blocks are known.
    scale: what the head's output is multiplied by.
    soft_cap: the configuration's key of a bound c, or None, that then turns logits into c tanh(logits / c).
    positions_follow_padding: position numbers begin after the id of the padding token, so that many fit fewer.
    positions_lost: how many fewer fit for another reason.
    needs: values without which a sentence's states would depend on the padding of its batch.
    down: where, in a block, the layer is whose output the feed-forward part adds to the stream as it is, by the names
        that the models of the family have for it; none where a norm follows it.
    position_lambdas: the module of a block whose weights belong to pairs of positions, where tokens meet in a lambda
        layer (arXiv:2102.08602) in place of attention; it is still the step called `attention`.
    """

    causal: bool
    blocks: str
    head: tuple[str, ...]
    steps: tuple[Step, ...]
    final_norm: str | None = None
    model_types: tuple[str, ...] = ()
    when: Mapping[str, object] = field(default_factory=dict)
    scale: float = 1.0
    soft_cap: str | None = None
    positions_follow_padding: bool = False
    positions_lost: int = 0
    needs: Mapping[str, object] = field(default_factory=dict)
    down: tuple[str, ...] = ()
    position_lambdas: str | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        """The site that each step reads."""
        return tuple(a if step.reads is None else step.reads for a, step in enumerate(self.steps))

    @property
    def headless(self) -> bool:
        """Whether the model has no prediction head, so that its last states are all it gives."""
        return bool(self.blocks) and not self.head  # of a model to be read by structure neither is known yet


# --- the orders in which blocks apply their parts --------------------------------------------------------------


def _pre_norm(norm_1: str, attention: Step, norm_2: str, feed_forward: Step) -> tuple[Step, ...]:
    return (
        Step("norm", (norm_1,)),
        attention,
        Step("residual", adds=(0,)),
        Step("norm", (norm_2,)),
        feed_forward,
        Step("residual", adds=(3,)),
    )


def _post_norm(attention: Step, norm_1: str, feed_forward: Step, norm_2: str) -> tuple[Step, ...]:
    return (
        attention,
        Step("residual", adds=(0,)),
        Step("norm", (norm_1,)),
        feed_forward,
        Step("residual", adds=(3,)),
        Step("norm", (norm_2,)),
    )


def _attention(*modules: str) -> Step:
    return Step("attention", modules)


def _feed_forward(*modules: str) -> Step:
    return Step("feed_forward", modules)


_LLAMA = _pre_norm(
    "input_layernorm", _attention("self_attn"), "post_attention_layernorm", _feed_forward("mlp")
)  # what most models since 2023 share

_OLMO2 = (  # the norms stand on what a part gives, not on what it takes
    _attention("self_attn"),
    Step("norm", ("post_attention_layernorm",)),
    Step("residual", adds=(0,)),
    _feed_forward("mlp"),
    Step("norm", ("post_feedforward_layernorm",)),
    Step("residual", adds=(3,)),
)

_GEMMA = (  # norms on both sides of a part
    Step("norm", ("input_layernorm",)),
    _attention("self_attn"),
    Step("norm", ("post_attention_layernorm",)),
    Step("residual", adds=(0,)),
    Step("norm", ("pre_feedforward_layernorm",)),
    _feed_forward("mlp"),
    Step("norm", ("post_feedforward_layernorm",)),
    Step("residual", adds=(4,)),
)

_GPT_NEOX = (  # both parts read the block's input, each through its own norm
    Step("norm", ("input_layernorm",)),
    _attention("attention"),
    Step("norm", ("post_attention_layernorm",), reads=0),
    _feed_forward("mlp"),
    Step("residual", adds=(2, 0)),
)


def _parallel(norm: str, attention: str) -> tuple[Step, ...]:
    """Both parts read the block's input through one norm."""
    return (
        Step("norm", (norm,)),
        _attention(attention),
        Step("feed_forward", ("mlp",), reads=1),
        Step("residual", adds=(2, 0)),
    )


_OPT_ATTENTION, _OPT_FEED_FORWARD = _attention("self_attn"), _feed_forward("fc1", "activation_fn", "fc2")

_BLOOM = _pre_norm(
    "input_layernorm",
    Step("attention", ("self_attention",), takes_residual=True, output="self_attention.dense"),
    "post_attention_layernorm",
    Step("feed_forward", ("mlp",), takes_residual=True),
)

_BERT = _post_norm(
    _attention("attention.self", "attention.output.dense"),
    "attention.output.LayerNorm",
    _feed_forward("intermediate", "output.dense"),
    "output.LayerNorm",
)

# --- the families ----------------------------------------------------------------------------------------------

_GPT2 = Family(
    causal=True,
    model_types=("gpt2",),
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    head=("lm_head",),
    steps=_pre_norm("ln_1", _attention("attn"), "ln_2", _feed_forward("mlp")),
    down=("mlp.c_proj",),
)
_NEOX = Family(
    causal=True,
    model_types=("gpt_neox",),
    when={"use_parallel_residual": True},
    blocks="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    head=("lm_head",),
    steps=_GPT_NEOX,
    down=("mlp.dense_4h_to_h",),
)
_OPT = Family(
    causal=True,
    model_types=("opt",),
    when={"do_layer_norm_before": True},
    blocks="model.decoder.layers",
    final_norm="model.decoder.final_layer_norm?",
    head=("model.decoder.project_out?", "lm_head"),
    steps=_pre_norm("self_attn_layer_norm", _OPT_ATTENTION, "final_layer_norm", _OPT_FEED_FORWARD),
    down=("fc2",),
)
_BLOOM_FAMILY = Family(
    causal=True,
    model_types=("bloom",),
    when={"apply_residual_connection_post_layernorm": False},
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    head=("lm_head",),
    steps=_BLOOM,
    down=("mlp.dense_4h_to_h",),
)
_LLAMA_FAMILY = Family(
    causal=True,
    model_types=("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "olmo", "phi3", "starcoder2"),
    blocks="model.layers",
    final_norm="model.norm",
    head=("lm_head",),
    steps=_LLAMA,
    down=("mlp.down_proj", "mlp.c_proj"),
)
_BERT_FAMILY = Family(
    causal=False,
    model_types=("bert",),
    when={"is_decoder": False},  # a decoder of this type fills a cache and may see only what stands before a token
    blocks="bert.encoder.layer",
    head=("cls",),
    steps=_BERT,
)

FAMILIES: Mapping[str, Family] = {
    "gpt2": _GPT2,
    "gpt_neo": replace(_GPT2, model_types=("gpt_neo",)),
    "gpt_neox": _NEOX,
    "gpt_neox (sequential)": replace(
        _NEOX,
        when={"use_parallel_residual": False},
        steps=_pre_norm("input_layernorm", _attention("attention"), "post_attention_layernorm", _feed_forward("mlp")),
    ),
    "gptj": replace(_GPT2, model_types=("gptj", "codegen"), steps=_parallel("ln_1", "attn"), down=("mlp.fc_out",)),
    "opt": _OPT,
    "opt (post-norm)": replace(
        _OPT,
        when={"do_layer_norm_before": False},
        steps=_post_norm(_OPT_ATTENTION, "self_attn_layer_norm", _OPT_FEED_FORWARD, "final_layer_norm"),
        down=(),
    ),
    "bloom": _BLOOM_FAMILY,
    "bloom (residual after norm)": replace(
        _BLOOM_FAMILY,
        when={"apply_residual_connection_post_layernorm": True},
        steps=(
            *_BLOOM[:2],
            Step("residual", adds=(1,)),
            *_BLOOM[3:5],
            Step("residual", adds=(4,)),
        ),
    ),
    "llama": _LLAMA_FAMILY,
    "olmo2": replace(_LLAMA_FAMILY, model_types=("olmo2", "olmo3"), steps=_OLMO2, down=()),
    "gemma2": replace(
        _LLAMA_FAMILY,
        model_types=("gemma2", "gemma3_text"),
        steps=_GEMMA,
        down=(),
        soft_cap="final_logit_softcapping",
    ),
    "gemma3": replace(
        _LLAMA_FAMILY,
        model_types=("gemma3",),  # with a part that sees images; the language model inside it
        blocks="model.language_model.layers",
        final_norm="model.language_model.norm",
        steps=_GEMMA,
        down=(),
    ),
    "phi": replace(
        _LLAMA_FAMILY,
        model_types=("phi",),
        final_norm="model.final_layernorm",
        steps=_parallel("input_layernorm", "self_attn"),
        down=("mlp.fc2",),
    ),
    "bert": _BERT_FAMILY,
    "roberta": replace(
        _BERT_FAMILY,
        model_types=("roberta", "xlm-roberta", "camembert"),
        blocks="roberta.encoder.layer",
        head=("lm_head",),
        positions_follow_padding=True,
    ),
    "distilbert": Family(
        causal=False,
        model_types=("distilbert",),
        blocks="distilbert.transformer.layer",
        head=("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
        steps=_post_norm(_attention("attention"), "sa_layer_norm", _feed_forward("ffn"), "output_layer_norm"),
    ),
    "electra": replace(
        _BERT_FAMILY,
        model_types=("electra",),
        blocks="electra.encoder.layer",
        head=("generator_predictions", "generator_lm_head"),
    ),
    "lambdabert": replace(  # BERT with lambda layers, as in studies/lambda_bert
        _BERT_FAMILY,
        model_types=("lambdabert",),
        when={},
        blocks="lambdabert.encoder.layer",
        needs={"mask_padding": True},
        position_lambdas="attention.self.positions",
    ),
    "modernbert": Family(
        causal=False,
        model_types=("modernbert",),
        blocks="model.layers",
        final_norm="model.final_norm",
        head=("head", "decoder"),
        steps=_pre_norm("attn_norm", _attention("attn"), "mlp_norm", _feed_forward("mlp")),
        down=("mlp.Wo",),
    ),
}

# What the library calls the cap on logits: Gemma and most others, RecurrentGemma, xLSTM.
SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")

# Model types that no entry describes whose position numbers begin after the padding token's id, as RoBERTa's do. The
# run of `linear_shortcuts/models/discovery.py` shows it of any model, but sentences are cut before weights are loaded.
POSITIONS_FOLLOW_PADDING = (
    "data2vec-text",
    "esm",
    "ibert",
    "luke",
    "mpnet",
    "roberta-prelayernorm",
    "xlm-roberta-xl",
    "xmod",
)

# The mappings that replace a part of every later block by its linear stand-in, by the name of the study.
PARTS: Mapping[str, Part] = {"mat_attn": "attention", "mat_ffn": "feed_forward", "mat_ln1_ln2": "norm"}


def stand_in_steps(family: Family, part: str) -> list[int]:
    """The sub-steps (a, which makes site a + 1) of a block that `part` names: attention, feed_forward or norm."""
    return [a for a, step in enumerate(family.steps) if step.part == part]


def without_head(family: Family, prefix: str) -> Family:
    """The family of a model that is the base of another, in which it has the name `prefix`, and has no head itself."""
    norm = None if family.final_norm is None else family.final_norm.removeprefix(f"{prefix}.")
    return replace(family, blocks=family.blocks.removeprefix(f"{prefix}."), final_norm=norm, head=())


def find(config: Any) -> Family | None:
    """The family of a Hugging Face configuration, or None if no entry describes it."""
    kind = getattr(config, "model_type", None)
    for family in FAMILIES.values():
        if kind in family.model_types and all(getattr(config, key) == value for key, value in family.when.items()):
            return family
    return None


def adjust(family: Family, config: Any, logits: Tensor) -> Tensor:
    """What the model itself makes of its head's output: scaled, and bounded where the family has a soft cap."""
    if family.scale != 1:
        logits = logits * family.scale
    cap = getattr(config.get_text_config(), family.soft_cap) if family.soft_cap else None
    return logits if cap is None else torch.tanh(logits / cap) * cap


# What configurations call the most tokens that positions, or the distances between them, were made for.
_LIMITS = ("max_position_embeddings", "max_seq_len", "max_target_positions", "n_positions", "max_sequence_length")


def longest(config: Any, family: Family) -> int | None:
    """The most tokens a model can read; None if its configuration sets no limit, as where positions are distances.

    Raises `InputError` if positions begin after the padding token and the configuration names none.
    """
    config = config.get_text_config()
    limit = next((value for name in _LIMITS if (value := getattr(config, name, None)) is not None), None)
    if limit is not None and family.positions_follow_padding:
        if config.pad_token_id is None:
            raise InputError(
                f"pad_token_id is null in the configuration, but the positions of a model of type {config.model_type} "
                "begin after it; set it to the tokenizer's"
            )
        limit -= config.pad_token_id + 1
    if limit is not None:
        limit -= family.positions_lost
    return limit if limit is not None and limit > 0 else None  # some state -1


def switch(config: Any) -> int | None:
    """The length beyond which a sentence's positions are turned by other factors (longrope); None if there is none.

    The library decides for a whole batch, by its longest sentence.
    """
    config = config.get_text_config()
    turned = getattr(config, "rope_parameters", None) or {}
    kinds = [turned, *(value for value in turned.values() if isinstance(value, Mapping))]  # some turn layers apart
    lengths = [kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"]
    return min(lengths, default=None)
