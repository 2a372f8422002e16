"""The two models that the study pre-trains side by side: a BERT, and a LambdaBERT of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForPreTraining, BertConfig

from lambda_bert import LambdaBertConfig
from lambda_bert.pairs import Task
from lambda_bert.settings import Shape
from linear_shortcuts.files import InputError, derive
from linear_shortcuts.training import sinusoids


def new_model(
    kind: str,
    shape: Shape,
    tokenizer: Any,
    context: int,
    task: Task,
    seed: int,
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """An untrained `bert` or `lambdabert` for masked tokens and pairs, initialised from the seed.

    changes: fields of its configuration that differ from the study's.

    Both have the same embeddings, feed-forward layers and heads, and no dropout: the text is read a few times at most.
    Position embeddings start as sines and cosines, as those of the project's tiny-bert do, and for its reason.
    """
    config = configuration(kind, shape, tokenizer, context, task, changes)
    torch.manual_seed(derive(seed, "weights") % 2**63)
    model = AutoModelForPreTraining.from_config(config)
    with torch.no_grad():
        model.base_model.embeddings.position_embeddings.weight.copy_(sinusoids(context, shape.width))
    return model


def configuration(
    kind: str, shape: Shape, tokenizer: Any, context: int, task: Task, changes: Mapping[str, Any] | None = None
) -> Any:
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": context,
        "hidden_dropout_prob": 0.0,
        "initializer_range": shape.initializer_range,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "bert":
        own: dict[str, Any] = {"num_attention_heads": shape.heads, "attention_probs_dropout_prob": 0.0}
        return BertConfig(**{**common, **own, **(changes or {})})
    own = {
        "num_lambda_queries": shape.heads,
        "key_depth": shape.key_depth,
        "intra_depth": shape.intra_depth,
        "local_context_size": shape.local_context,
        "position_initializer_range": shape.position_initializer_range,
        "query_scale_init_value": shape.query_scale,
        "relative_global": shape.local_context is None,
        "mask_padding": True,
        "token_only_batchnorm": True,
        "classifier_dropout_prob": 0.0,
        "pair_objective": task,
        "output_lambda_params": False,
    }
    return LambdaBertConfig(**{**common, **own, **(changes or {})})


def load_model(folder: Path, made_by: str = "studies/lambda_bert/02_pretrain.py") -> Any:
    """A pre-trained model in float32 and evaluation mode."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no model; run {made_by} first")
    return AutoModelForPreTraining.from_pretrained(folder, dtype=torch.float32).eval()


def save_model(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write configuration, tokenizer and half-precision weights."""
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
