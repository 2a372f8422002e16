"""Configuration of LambdaBERT: BERT with lambda layers in place of self-attention."""

import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# Saved with every model, so that each auto class finds its class in the files that lie beside the weights.
AUTO_MAP = {
    "AutoConfig": "configuration_lambdabert.LambdaBertConfig",
    "AutoModel": "modeling_lambdabert.LambdaBertModel",
    "AutoModelForMaskedLM": "modeling_lambdabert.LambdaBertForMaskedLM",
    "AutoModelForPreTraining": "modeling_lambdabert.LambdaBertForPreTraining",
}

COUNTS = (  # what there must be one of at least
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "num_lambda_queries",
    "key_depth",
    "intra_depth",
)


@strict
class LambdaBertConfig(PreTrainedConfig):
    """Sizes and switches of a LambdaBERT. Whatever BERT has too is called as in `BertConfig`.

    num_lambda_queries: query heads h, which all read the same lambdas; the value depth is v = hidden_size / h.
    key_depth: k, the rows of a lambda; a query has this many entries.
    intra_depth: u, how many keys and values a token gives.
    lambdas: what a query is multiplied by: `both` lambdas, the `content` lambda alone, which needs no position weights,
        or the `position` lambda alone, which needs no keys.
    local_context_size: r, odd: a token's position lambda sums over the r tokens around it, its own in the middle.
        None: over all tokens.
    position_initializer_range: the standard deviation of position weights at the start; 1 in the original.
    query_scale_init_value: the weight of the queries' batch norm at the start; 1 in the original. With it at 0.1 and
        position weights at 0.02 a new block keeps most of what it was given, as one with attention does, and learns.
    output_lambda_params: return the content lambda of every layer, (batch, key_depth, v).
    relative_global: with all tokens as context, position weights follow the distance of two tokens alone, as in a
        local context: (2 max_position_embeddings - 1) of them in place of max_position_embeddings². Recommended.
    mask_padding: padding gets no weight in the softmax over the tokens, and its values are 0. Recommended wherever
        sentences of unequal lengths share a batch: without it, padding changes what the model says of real tokens.
    token_only_batchnorm: the statistics of the batch norms are taken over real tokens only. Recommended likewise.
    strict_original: with all tokens as context, use the diagonal of the position weights only, as the original program
        does by repeating an index in its sum. It then mixes no positions; for comparisons alone.
    pair_objective: what `LambdaBertForPreTraining` says of two segments: `nsp`, whether the second follows the first
        or comes from elsewhere; or `sop`, whether they stand in their order.

    The last four switches are off and the objective is `nsp` by default, so that the layer is the original one but for
    its mistaken sum. Raises an error that names the field and its value if one is impossible.
    """

    model_type = "lambdabert"
    keys_to_ignore_at_inference = ["hidden_states", "lambda_params"]  # noqa: RUF012 (the library's own attribute)

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    classifier_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    num_lambda_queries: int = 8
    key_depth: int = 8
    intra_depth: int = 4
    lambdas: Literal["both", "content", "position"] = "both"
    local_context_size: int | None = None
    position_initializer_range: float | int = 1.0
    query_scale_init_value: float | int = 1.0
    output_lambda_params: bool = True
    gradient_checkpointing: bool = False
    relative_global: bool = False
    mask_padding: bool = False
    token_only_batchnorm: bool = False
    strict_original: bool = False
    pair_objective: Literal["nsp", "sop"] = "nsp"
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.auto_map = kwargs.pop("auto_map", None) or dict(AUTO_MAP)
        super().__post_init__(**kwargs)

    @property
    def value_depth(self) -> int:
        """v, the columns of a lambda: the width of one query head's output."""
        return self.hidden_size // self.num_lambda_queries

    def validate_architecture(self) -> None:
        """Raise `ValueError` if the sizes and switches do not fit together; called whenever a configuration is made."""
        for field in COUNTS:
            value = getattr(self, field)
            if value < 1:
                raise ValueError(f"{field} = {value}, but it must be at least 1")
        for field in ("initializer_range", "position_initializer_range", "query_scale_init_value"):
            value = getattr(self, field)
            if not 0 <= value < math.inf:
                raise ValueError(f"{field} = {value}, but it must be a number from 0 up")
        if self.output_attentions:
            raise ValueError("output_attentions = True, but a lambda layer computes no attention; leave it out")
        if self.lambdas == "position" and self.output_lambda_params:
            raise ValueError("output_lambda_params = True, but lambdas = 'position' makes no content lambda")
        if self.hidden_size % self.num_lambda_queries:
            raise ValueError(
                f"hidden_size = {self.hidden_size} is not divisible by num_lambda_queries = {self.num_lambda_queries}"
            )
        size = self.local_context_size
        if size is not None and (size < 1 or size % 2 == 0):
            raise ValueError(f"local_context_size = {size}, but a window with a token in its middle is odd; or None")
        switched_on = [field for field in ("relative_global", "strict_original") if getattr(self, field)]
        if switched_on and size is not None:
            raise ValueError(f"{switched_on[0]} = True needs local_context_size = None, but it is {size}")
        if len(switched_on) > 1:
            raise ValueError(
                "relative_global = True and strict_original = True exclude each other: relative weights on the "
                "diagonal are all the same"
            )
        super().validate_architecture()
