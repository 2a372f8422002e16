"""LambdaBERT: a BERT encoder whose attention is replaced by lambda layers (Bello, 2021, arXiv:2102.08602).

A lambda layer turns the context into a small matrix, the *content lambda*, and for each position into another, the
*position lambda*, and multiplies every query by both. No matrix of tokens by tokens arises. Two words of caution: the
content lambda is the same for every query and whatever the order of the tokens, but it is a sum over the tokens of
the sentence, so that it does depend on the input; and batch norm makes a sentence's vectors depend on its
batch while training.

In the shapes below: B sentences of N tokens, width H, h query heads, key depth k, intra depth u, value depth v = H / h.
"""

import math
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput
from transformers.models.bert.modeling_bert import (
    BertEmbeddings,
    BertIntermediate,
    BertOnlyMLMHead,
    BertOutput,
    BertPooler,
    BertPreTrainedModel,
    BertPreTrainingHeads,
    BertSelfOutput,
)
from transformers.processing_utils import Unpack
from transformers.utils import can_return_tuple, logging
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_lambdabert import LambdaBertConfig

logger = logging.get_logger(__name__)


class LambdaBertKwargs(TypedDict, total=False):
    """What every forward pass takes besides its tensors; where not given, the configuration's value holds."""

    output_hidden_states: bool | None
    output_lambda_params: bool | None
    return_dict: bool | None


# --- outputs ---------------------------------------------------------------------------------------------------


@dataclass
class LambdaBertModelOutput(ModelOutput):
    """
    last_hidden_state: (B, N, H). pooler_output: (B, H), of the first token. hidden_states: if asked for, h_0 to h_L,
    each (B, N, H). lambda_params: if asked for, the content lambda of each layer, (B, k, v).
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    lambda_params: tuple[Tensor, ...] | None = None


@dataclass
class LambdaBertMaskedLMOutput(ModelOutput):
    """loss: if labels were given. logits: (B, N, vocabulary). The rest as in `LambdaBertModelOutput`."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    lambda_params: tuple[Tensor, ...] | None = None


@dataclass
class LambdaBertForPreTrainingOutput(ModelOutput):
    """
    loss: mlm_loss + pair_loss, if labels of both were given; each of the two if its own were.
    prediction_logits: (B, N, vocabulary). seq_relationship_logits: (B, 2). The rest as in `LambdaBertModelOutput`.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    mlm_loss: Tensor | None = None
    pair_loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    lambda_params: tuple[Tensor, ...] | None = None


# --- the lambda layer ------------------------------------------------------------------------------------------


class PointwiseConvolution(nn.Linear):
    """A 1x1 convolution along the tokens, without bias: a linear map with a convolution's initialisation."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of (B, N, channels) over sentences and positions, or over the real tokens among them.

    PyTorch's own, but while training: there padding is normalised by the statistics of tokens alone, and a layer that
    gradient checkpointing runs twice counts its batch once.

    initial_scale: the weight of every channel at the start.
    """

    def __init__(self, channels: int, initial_scale: float = 1.0) -> None:
        super().__init__(channels)
        self.initial_scale = initial_scale

    def forward(self, states: Tensor, tokens: Tensor | None = None, followed: set[nn.Module] | None = None) -> Tensor:
        """
        states: (B, N, channels). tokens: (B, N) bool, the positions whose statistics count while training; None: all.
        followed: the norms whose running statistics know this batch, where a layer may run twice; this one joins them.
        """
        if not self.training:
            return super().forward(states.flatten(0, 1)).view_as(states)
        counted = states.flatten(0, 1) if tokens is None else states[tokens]
        if len(counted) < 2:
            raise ValueError(f"batch norm needs 2 tokens or more to train on, but the batch has {len(counted)}")
        variance, mean = torch.var_mean(counted, dim=0, correction=0)
        if followed is None or self not in followed:
            self._follow(mean.detach(), variance.detach() * (len(counted) / (len(counted) - 1)))
        if followed is not None:
            followed.add(self)
        return (states - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        for running, seen in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            assert self.momentum is not None
            running.lerp_(seen.to(running.dtype), self.momentum)


class LocalPositions(nn.Module):
    """Position lambdas of a window: a convolution along the tokens with the same weights for every value channel."""

    def __init__(self, config: LambdaBertConfig, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.key_depth, config.intra_depth, 1, size))

    def forward(self, values: Tensor) -> Tensor:
        """values: (B, N, v, u) -> lambdas (B, N, k, v)."""
        tokens, reach = values.shape[1], self.weight.shape[-1] // 2
        # Weights that could only ever meet the zeros outside the sentence are left out.
        # An exported program serves every length, and keeps them: where the cut falls would fix the length.
        spare = 0 if torch.compiler.is_exporting() else max(reach - (tokens - 1), 0)
        window = self.weight[..., spare : self.weight.shape[-1] - spare]
        # As pictures of N by v: with v by N, or one sentence's channel a row, it takes two to five times as long.
        pictures = values.permute(0, 3, 1, 2)  # (B, u, N, v)
        convolved = F.conv2d(pictures, window.transpose(2, 3), padding=(reach - spare, 0))  # (B, k, N, v)
        return convolved.transpose(1, 2)


class RelativePositions(LocalPositions):
    """Position lambdas of all tokens whose weights follow the distance: a window that reaches over every sentence."""

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__(config, 2 * config.max_position_embeddings - 1)


class GlobalPositions(nn.Module):
    """Position lambdas of all tokens, with a weight of their own for each pair of positions (n, m)."""

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__()
        longest = config.max_position_embeddings
        self.weight = nn.Parameter(torch.empty(longest, longest, config.intra_depth, config.key_depth))

    def forward(self, values: Tensor) -> Tensor:
        """values: (B, N, v, u) -> lambdas (B, N, k, v)."""
        tokens = values.shape[1]
        if torch.compiler.is_exporting():  # the strides of a slice of both axes would fix the length
            weight = self.weight[:tokens].index_select(1, torch.arange(tokens, device=values.device))
        else:
            weight = self.weight[:tokens, :tokens]
        return torch.einsum("nmuk,bmvu->bnkv", weight, values)


class DiagonalPositions(GlobalPositions):
    """The original's sum, whose repeated index leaves of all pairs (n, m) only those with n = m."""

    def forward(self, values: Tensor) -> Tensor:
        tokens = values.shape[1]
        diagonal = self.weight.diagonal(dim1=0, dim2=1)[..., :tokens]  # (u, k, N)
        return torch.einsum("ukn,bnvu->bnkv", diagonal, values)


def _positions(config: LambdaBertConfig) -> nn.Module:
    if config.local_context_size is not None:
        return LocalPositions(config, config.local_context_size)
    if config.relative_global:
        return RelativePositions(config)
    return DiagonalPositions(config) if config.strict_original else GlobalPositions(config)


class LambdaLayer(nn.Module):
    """What takes the place of self-attention: every query is multiplied by the lambdas of the context.

    key, positions: the parts that content lambdas and position lambdas begin with; None where the configuration's
    `lambdas` leaves these out.
    """

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__()
        h, k, u, v = config.num_lambda_queries, config.key_depth, config.intra_depth, config.value_depth
        self.heads, self.key_depth, self.intra_depth, self.value_depth = h, k, u, v
        self.mask_padding = config.mask_padding
        self.token_only_batchnorm = config.token_only_batchnorm
        self.query = PointwiseConvolution(config.hidden_size, h * k)
        self.key = PointwiseConvolution(config.hidden_size, k * u) if config.lambdas != "position" else None
        self.value = PointwiseConvolution(config.hidden_size, v * u)
        self.query_norm = TokenBatchNorm(h * k, config.query_scale_init_value)
        self.value_norm = TokenBatchNorm(v * u)
        self.positions = _positions(config) if config.lambdas != "content" else None

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, followed: set[nn.Module] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """
        hidden_states: (B, N, H). attention_mask: (B, N) bool, True at tokens; None: there is no padding.
        followed: as in `TokenBatchNorm`.
        Returns the output (B, N, H), in the order (head, v), and the content lambda (B, k, v), None without.
        """
        queries, keys, values = self.project(hidden_states, attention_mask, followed)
        content = None if keys is None else self.content_lambda(keys, values)
        read = [] if content is None else [torch.einsum("bnhk,bkv->bnhv", queries, content)]
        if self.positions is not None:
            read.append(torch.einsum("bnhk,bnkv->bnhv", queries, self.positions(values)))
        return sum(read[1:], read[0]).flatten(2), content

    def project(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, followed: set[nn.Module] | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Queries (B, N, h, k), keys (B, N, k, u), which sum to 1 over the tokens, and values (B, N, v, u)."""
        batch, tokens, _ = hidden_states.shape
        counted = attention_mask if self.token_only_batchnorm else None
        queries = self.query_norm(self.query(hidden_states), counted, followed)
        queries = queries.view(batch, tokens, self.heads, self.key_depth)
        values = self.value_norm(self.value(hidden_states), counted, followed)
        values = values.view(batch, tokens, self.value_depth, self.intra_depth)
        padding = ~attention_mask[:, :, None, None] if self.mask_padding and attention_mask is not None else None
        if padding is not None:
            values = values.masked_fill(padding, 0)
        if self.key is None:
            return queries, None, values
        scores = self.key(hidden_states).view(batch, tokens, self.key_depth, self.intra_depth)
        if padding is not None:
            # The least number, not -inf: a sentence of nothing but padding would become NaN.
            scores = scores.masked_fill(padding, torch.finfo(scores.dtype).min)
        return queries, scores.softmax(dim=1), values

    @staticmethod
    def content_lambda(keys: Tensor, values: Tensor) -> Tensor:
        """The content lambda (B, k, v): the values of all tokens, weighted by their keys."""
        return torch.einsum("bnku,bnvu->bkv", keys, values)


# --- the encoder -----------------------------------------------------------------------------------------------


class LambdaBertSublayer(nn.Module):
    """A lambda layer, and BERT's output step with residual and norm around it."""

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__()
        self.self = LambdaLayer(config)
        self.output = BertSelfOutput(config)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, followed: set[nn.Module] | None = None
    ) -> Tensor:
        output, _ = self.self(hidden_states, attention_mask, followed)
        return self.output(output, hidden_states)


class LambdaBertLayer(GradientCheckpointingLayer):
    """One block. The lambda sub-layer bears the name of the attention in whose place it stands."""

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__()
        self.attention = LambdaBertSublayer(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, followed: set[nn.Module] | None = None
    ) -> Tensor:
        hidden_states = self.attention(hidden_states, attention_mask, followed)
        return self.output(self.intermediate(hidden_states), hidden_states)


class LambdaBertEncoder(nn.Module):
    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([LambdaBertLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        for layer in self.layer:
            # Gradient checkpointing runs a layer anew, with the same set, during the backward pass.
            followed: set[nn.Module] | None = set() if self.training and layer.gradient_checkpointing else None
            hidden_states = layer(hidden_states, attention_mask, followed)
        return hidden_states


class LambdaBertPreTrainedModel(BertPreTrainedModel):
    """Loading, saving and initialisation, as in BERT.

    Convolutions keep the framework's initialisation, as in the original; position weights and query norms have
    their own.
    """

    config: LambdaBertConfig
    config_class = LambdaBertConfig
    base_model_prefix = "lambdabert"
    _no_split_modules = ["BertEmbeddings", "LambdaBertLayer"]  # noqa: RUF012 (the library's own attributes)
    _supports_flash_attn = _supports_sdpa = _supports_flex_attn = _supports_attention_backend = False
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": LambdaBertLayer,
        "lambda_params": OutputRecorder(LambdaLayer, index=1),
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PointwiseConvolution):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, (LocalPositions, GlobalPositions)):
            init.normal_(module.weight, std=self.config.position_initializer_range)
        else:
            super()._init_weights(module)
            if isinstance(module, TokenBatchNorm):
                init.constant_(module.weight, module.initial_scale)


class LambdaBertModel(LambdaBertPreTrainedModel):
    """BERT's embeddings, lambda blocks and, unless `add_pooling_layer` is False, BERT's pooler."""

    def __init__(self, config: LambdaBertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        self.encoder = LambdaBertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = value

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Unpack[LambdaBertKwargs],
    ) -> tuple[Tensor, ...] | LambdaBertModelOutput:
        """
        input_ids: (B, N); or inputs_embeds: (B, N, H). attention_mask: (B, N), 1 at tokens and 0 at padding; None: all
        are tokens. token_type_ids: (B, N), default 0. position_ids: (B, N), default 0 to N - 1.
        """
        given = [tensor for tensor in (input_ids, inputs_embeds) if tensor is not None]
        if len(given) != 1:
            raise ValueError(f"give either input_ids or inputs_embeds; {'both' if given else 'neither'} was given")
        batch, tokens = given[0].shape[:2]
        if kwargs.get("output_attentions"):
            raise ValueError(
                "output_attentions = True, but a lambda layer computes no attention; output_lambda_params = True "
                "returns the content lambdas"
            )
        if kwargs.get("output_lambda_params") and self.config.lambdas == "position":
            raise ValueError("output_lambda_params = True, but lambdas = 'position' makes no content lambda")
        if not tokens:
            raise ValueError("the sequence has 0 tokens; give 1 or more")
        if tokens > self.config.max_position_embeddings:
            raise ValueError(
                f"the sequence has {tokens} tokens, more than max_position_embeddings = "
                f"{self.config.max_position_embeddings}"
            )
        if attention_mask is not None:
            if attention_mask.shape != (batch, tokens):
                raise ValueError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}, but the tokens {(batch, tokens)}; a "
                    "lambda layer knows tokens and padding, no mask between tokens"
                )
            # Masks to add are floating; to look into others would cost a GPU a stop, and a compiler the graph.
            looked_into = attention_mask.is_floating_point() and not torch.compiler.is_compiling()
            if looked_into and (attention_mask < 0).any():
                raise ValueError(
                    f"attention_mask has the value {attention_mask.min().item():g}; it must be 1 at tokens and 0 at "
                    "padding, not a mask to add"
                )
            attention_mask = attention_mask.bool()
            if not self.config.mask_padding and not attention_mask.all():
                logger.warning_once(
                    "the batch contains padding and mask_padding = False, so that padding changes what the model says "
                    "of real tokens; set mask_padding = True, and token_only_batchnorm = True to train"
                )
        states = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        states = self.encoder(states, attention_mask)
        pooled = None if self.pooler is None else self.pooler(states)
        return LambdaBertModelOutput(last_hidden_state=states, pooler_output=pooled)


class _WithHead(LambdaBertPreTrainedModel):
    """The head's output matrix is the word embeddings."""

    accepts_loss_kwargs = False  # the losses are means over the batch, so that a trainer has to average over batches

    _tied_weights_keys = {  # noqa: RUF012
        "cls.predictions.decoder.weight": "lambdabert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def get_output_embeddings(self) -> nn.Module:
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.cls.predictions.decoder = new_embeddings
        self.cls.predictions.bias = new_embeddings.bias


class LambdaBertForMaskedLM(_WithHead):
    """LambdaBERT with a masked-language-modelling head."""

    # What a checkpoint of `LambdaBertForPreTraining` has besides.
    _keys_to_ignore_on_load_unexpected = [r"\.pooler\.", r"cls\.seq_relationship\."]  # noqa: RUF012

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__(config)
        self.lambdabert = LambdaBertModel(config, add_pooling_layer=False)
        self.cls = BertOnlyMLMHead(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[LambdaBertKwargs],
    ) -> tuple[Tensor, ...] | LambdaBertMaskedLMOutput:
        """labels: (B, N), -100 where nothing is to be predicted. The rest as in `LambdaBertModel.forward`."""
        outputs = self.lambdabert(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        logits = self.cls(outputs.last_hidden_state)
        return LambdaBertMaskedLMOutput(
            loss=None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten()),
            logits=logits,
            hidden_states=outputs.hidden_states,
            lambda_params=outputs.lambda_params,
        )


class LambdaBertForPreTraining(_WithHead):
    """LambdaBERT with both heads of pre-training: masked tokens, and a question about two segments.

    With `pair_objective = "nsp"` the question is whether the second segment follows the first (0) or is a random one
    (1), and the head one linear map, as in BERT; with `"sop"`, whether the two stand in their order (0) or are swapped
    (1), and dropout comes first, as in ALBERT.
    """

    def __init__(self, config: LambdaBertConfig) -> None:
        super().__init__(config)
        self.lambdabert = LambdaBertModel(config)
        self.cls = BertPreTrainingHeads(config)
        self.dropout = nn.Dropout(config.classifier_dropout_prob if config.pair_objective == "sop" else 0.0)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        sentence_order_label: Tensor | None = None,
        **kwargs: Unpack[LambdaBertKwargs],
    ) -> tuple[Tensor, ...] | LambdaBertForPreTrainingOutput:
        """
        labels: (B, N), -100 where nothing is to be predicted. next_sentence_label or sentence_order_label: (B,), which
        one is for the configuration's `pair_objective` to say. The rest as in `LambdaBertModel.forward`.
        """
        pair_labels = self._pair_labels(next_sentence_label, sentence_order_label)
        outputs = self.lambdabert(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        logits, pair_logits = self.cls(outputs.last_hidden_state, self.dropout(outputs.pooler_output))
        mlm_loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        pair_loss = None if pair_labels is None else F.cross_entropy(pair_logits, pair_labels.flatten())
        return LambdaBertForPreTrainingOutput(
            loss=None if mlm_loss is None or pair_loss is None else mlm_loss + pair_loss,
            prediction_logits=logits,
            seq_relationship_logits=pair_logits,
            mlm_loss=mlm_loss,
            pair_loss=pair_loss,
            hidden_states=outputs.hidden_states,
            lambda_params=outputs.lambda_params,
        )

    def _pair_labels(self, next_sentence: Tensor | None, sentence_order: Tensor | None) -> Tensor | None:
        wanted, other = next_sentence, sentence_order
        if self.config.pair_objective == "sop":
            wanted, other = sentence_order, next_sentence
        if other is not None:
            raise ValueError(
                f"pair_objective = {self.config.pair_objective!r}, so give "
                f"{'sentence_order_label' if self.config.pair_objective == 'sop' else 'next_sentence_label'} only"
            )
        return wanted


LambdaBertConfig.register_for_auto_class()
LambdaBertModel.register_for_auto_class("AutoModel")
LambdaBertForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
LambdaBertForPreTraining.register_for_auto_class("AutoModelForPreTraining")
