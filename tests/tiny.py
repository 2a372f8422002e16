"""Small real architectures with random weights, and sentences for them."""

from pathlib import Path

import torch
from torch import nn

from linear_shortcuts.models.language_model import LanguageModel
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.text.tokens import Tokens

VOCABULARY, WIDTH, LAYERS, CONTEXT, MASK = 97, 24, 3, 32, 4
FAMILIES = ["gpt2", "bert"]  # the study's own two

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "intermediate_size": 2 * WIDTH,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GEMMA = {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16}
_VISION = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 16,
    "image_size": 8,
    "patch_size": 4,
}
_IMAGES = {"mm_tokens_per_image": 4, "boi_token_index": 94, "eoi_token_index": 95, "image_token_index": 96}
# name -> model type and what its configuration sets otherwise. Every family and every variant of one stands here, and
# what a family's models differ in: shared keys, windows shorter than a sentence, projections, ties.
ARCHITECTURES: dict[str, tuple[str, dict[str, object]]] = {
    "gpt2": ("gpt2", {}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global", "local", "local"], 1]], "window_size": 8}),
    "gpt_neox (Pythia)": ("gpt_neox", {"rotary_pct": 0.25, "hidden_size": 48}),
    "gpt_neox, sequential": ("gpt_neox", {"use_parallel_residual": False, "tie_word_embeddings": True}),
    "gptj": ("gptj", {"rotary_dim": 4}),
    "codegen": ("codegen", {"rotary_dim": 4, "num_attention_heads": 4}),
    "opt": ("opt", {"ffn_dim": 2 * WIDTH, "word_embed_proj_dim": WIDTH}),
    "opt, post-norm (350m)": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "bloom": ("bloom", {"max_position_embeddings": None}),
    "bloom, residual after norm": (
        "bloom",
        {"max_position_embeddings": None, "apply_residual_connection_post_layernorm": True},
    ),
    "llama": ("llama", {"num_key_value_heads": 1}),
    "llama (SmolLM: tied)": ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "mistral": ("mistral", {"num_key_value_heads": 1, "sliding_window": 8, "head_dim": 16}),
    "qwen2": ("qwen2", {"num_key_value_heads": 1}),
    "qwen3": ("qwen3", {"num_key_value_heads": 1, "head_dim": 16}),
    "smollm3": ("smollm3", {"num_key_value_heads": 1, "no_rope_layer_interval": 2}),
    "olmo": ("olmo", {}),
    "phi3": ("phi3", {}),
    "starcoder2": ("starcoder2", {"num_key_value_heads": 1, "sliding_window": 8}),
    "gemma": ("gemma", {"num_key_value_heads": 1, "head_dim": 16}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"sliding_window": 8}),
    "gemma2": ("gemma2", {**_GEMMA, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 5.0}),
    "gemma3": ("gemma3_text", {**_GEMMA}),
    "gemma3 with images": ("gemma3", {"text_config": {**_COMMON, **_GEMMA}, "vision_config": _VISION, **_IMAGES}),
    "phi": ("phi", {"partial_rotary_factor": 0.5}),
    "bert": ("bert", {}),
    "roberta": ("roberta", {"pad_token_id": 1, "bos_token_id": 0, "max_position_embeddings": CONTEXT + 2}),
    "xlm-roberta": ("xlm-roberta", {"pad_token_id": 1, "bos_token_id": 0, "max_position_embeddings": CONTEXT + 2}),
    "camembert": ("camembert", {"pad_token_id": 1, "bos_token_id": 0, "max_position_embeddings": CONTEXT + 2}),
    "distilbert": ("distilbert", {"hidden_dim": 2 * WIDTH}),
    "electra": ("electra", {"embedding_size": 16}),
    "modernbert": ("modernbert", {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2}),
}


def architecture(name: str, *, seed: int = 0, layers: int | None = None) -> LanguageModel:
    """A tiny random model of one of `ARCHITECTURES`."""
    kind, own = ARCHITECTURES[name]
    made = random_network(kind, seed=seed, **{**own, **({} if layers is None else {"num_hidden_layers": layers})})
    masked = "MaskedLM" in type(made).__name__
    return wrap(made, name=name, mask_token=MASK if masked else None)


def random_network(kind: str, *, seed: int = 0, **own: object) -> nn.Module:
    """A model of a type of the library, small and with random weights, biases and norms among them."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**_COMMON, **own})
    masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    made = (AutoModelForMaskedLM if masked else AutoModelForCausalLM).from_config(config)
    return randomize(made)


def randomize(made: nn.Module) -> nn.Module:
    with torch.no_grad():  # random norms, their statistics and biases too: a part that is 1 or 0 hides mistakes
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for name, statistic in made.named_buffers():
            if "running_" in name:
                statistic.add_(0.1 * torch.rand_like(statistic))
    return made.eval()


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
    return randomize(made)


def model(family: str, *, seed: int = 0, layers: int = LAYERS) -> LanguageModel:
    return wrap(network(family, seed=seed, layers=layers), name=family, mask_token=MASK if family == "bert" else None)


class _Matrix(nn.Module):
    """What takes the place of attention and feed-forward in a linear model: it looks at no other token."""

    def __init__(self, width: int, *, attention: bool, takes_residual: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width, bias=False)
        self.attention, self.takes_residual = attention, takes_residual

    def forward(self, hidden_states: torch.Tensor, *others: torch.Tensor, **options: object) -> object:
        value = self.dense(hidden_states)
        if self.takes_residual:
            value = value + others[0]
        return (value, None) if self.attention else value


def linear_model(name: str, *, layers: int = LAYERS) -> LanguageModel:
    """A model whose blocks are matrices: no norms, no biases, attention and feed-forward linear."""
    made = model(name, layers=layers) if name in FAMILIES else architecture(name)
    torch.manual_seed(1)
    for block in made.blocks:
        for step in made.family.steps:
            for number, path in enumerate(step.modules):
                linear = step.part != "norm" and number == 0
                matrix = _Matrix(made.width, attention=step.part == "attention", takes_residual=step.takes_residual)
                block.set_submodule(path, matrix if linear else nn.Identity())
    made.network.eval().requires_grad_(False)
    return made


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


def save_tokenizer(folder: Path, *, words: int = VOCABULARY) -> None:
    """Save a tokenizer of so many words beside a checkpoint."""
    import tokenizers as tk
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"w{number}": number for number in range(words)}
    made = tk.Tokenizer(tk.models.WordLevel(vocabulary, unk_token="w0"))
    made.pre_tokenizer = tk.pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="w0").save_pretrained(folder)
