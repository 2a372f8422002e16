"""BERT with lambda layers in place of self-attention, after LambdaNetworks (arXiv:2102.08602).

Read the modules in this order:

    settings                     what params.yaml sets, and where results lie
    configuration_lambdabert     sizes and switches
    modeling_lambdabert          the lambda layer, the encoder, and its heads
    documents, pairs             text as documents, and documents as pairs of segments
    models, pretraining, study   the two models, and their pre-training side by side
    comparison                   what came of it
    rotary, ablation, seeds      the same with a part left out, from several seeds, and what these say
    shortcut                     how linear a model is, measured as the main pipeline does
    lambdas, probing, reading    the content lambdas as matrices, as features, and as tokens
    inside                       what these three find
    page                         the README's tables, from tracked numbers

Importing one of the classes below makes the model known to transformers' auto classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambda_bert.registration import (
        LambdaBertConfig,
        LambdaBertForMaskedLM,
        LambdaBertForPreTraining,
        LambdaBertModel,
    )

__all__ = ["LambdaBertConfig", "LambdaBertForMaskedLM", "LambdaBertForPreTraining", "LambdaBertModel"]


def __getattr__(name: str) -> Any:
    # Lazy, so that a stage's --help answers before torch is loaded.
    if name in __all__:
        from lambda_bert import registration

        return getattr(registration, name)
    raise AttributeError(f"module 'lambda_bert' has no attribute {name!r}")
