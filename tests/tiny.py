"""Small real architectures with random weights, and sentences for them."""

import torch
from torch import nn

from shortcuts.models import LanguageModel, wrap
from shortcuts.tokens import Tokens

VOCABULARY, WIDTH, LAYERS, CONTEXT, MASK = 97, 24, 3, 32, 4
FAMILIES = ["gpt2", "bert"]


def network(family: str, *, seed: int = 0, layers: int = LAYERS) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=WIDTH,
            n_layer=layers,
            n_head=3,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=0,
        )
        made = GPT2LMHeadModel(config)
    else:
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=3,
            intermediate_size=2 * WIDTH,
            max_position_embeddings=CONTEXT,
            initializer_range=0.2,
        )
        made = BertForMaskedLM(config)
    with torch.no_grad():  # random norms and biases too: a part that is 1 or 0 hides mistakes
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def model(family: str, *, seed: int = 0, layers: int = LAYERS) -> LanguageModel:
    return wrap(network(family, seed=seed, layers=layers), name=family, mask_token=MASK if family == "bert" else None)


class _PointwiseAttention(nn.Module):
    """Attention that looks at no other token: a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> tuple[torch.Tensor, None]:
        return self.matrix(hidden_states), None


def linear_model(family: str, *, layers: int = LAYERS) -> LanguageModel:
    """A model whose blocks are matrices: no norms, no biases, attention and feed-forward linear."""
    made = network(family, layers=layers)
    torch.manual_seed(1)
    if family == "gpt2":
        for block in made.transformer.h:
            block.ln_1 = block.ln_2 = nn.Identity()
            block.attn = _PointwiseAttention()
            block.mlp = nn.Linear(WIDTH, WIDTH, bias=False)
    else:
        for block in made.bert.encoder.layer:
            block.attention.self = _PointwiseAttention()
            block.attention.output.dense = nn.Identity()
            block.attention.output.LayerNorm = block.output.LayerNorm = nn.Identity()
            block.intermediate = nn.Linear(WIDTH, WIDTH, bias=False)
            block.output.dense = nn.Identity()
    return wrap(made.eval(), name=family, mask_token=MASK if family == "bert" else None)


def tokens(language_model: LanguageModel, number: int = 60, *, seed: int = 0) -> Tokens:
    """Random sentences of 2 to CONTEXT tokens, a sampled position in each."""
    generator = torch.Generator().manual_seed(seed)
    sentences, positions = [], []
    for _ in range(number):
        length = int(torch.randint(2, CONTEXT + 1, (), generator=generator))
        ids = torch.randint(MASK + 1, VOCABULARY, (length,), generator=generator)
        position = int(torch.randint(0, length, (), generator=generator))
        if language_model.mask_token is not None:
            ids[position] = language_model.mask_token
        sentences.append(ids)
        positions.append(position)
    return Tokens(sentences, torch.tensor(positions))
