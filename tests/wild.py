"""Every architecture of the library with a causal or a masked head, built as small as its configuration allows."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tokenizers as tk
import torch
import yaml
from tiny import randomize
from torch import nn
from toy import ALL, REPOSITORY
from transformers import PreTrainedTokenizerFast

LARGEST = 2_000_000  # parameters; what cannot be made smaller is left out
# Small values that fit each other, and the names that configurations have for them: 4 heads of 8, keys and values
# shared by two, 4 experts of which 2 are used, inner widths of 64 in the 8 heads of a state-space model.
_NAMES: Mapping[float, str] = {
    0: "pad_token_id num_kv_shared_layers",
    0.2: "initializer_range",
    1: (
        "n_group topk_group num_expert_group n_shared_experts num_shared_experts n_groups mamba_n_groups "
        "first_k_dense_replace bos_token_id"
    ),
    2: (
        "encoder_layers num_encoder_layers num_key_value_heads type_vocab_size num_experts_per_tok moe_topk "
        "num_experts_per_token moe_k zero_expert_num index_n_heads n_mamba_heads linear_num_key_heads "
        "sliding_window_pattern swa_num_key_value_heads num_kv_heads eos_token_id"
    ),
    3: "num_hidden_layers n_layer n_layers num_layers num_blocks decoder_layers num_decoder_layers",
    4: (
        "num_attention_heads n_head n_heads decoder_attention_heads encoder_attention_heads "
        "num_encoder_attention_heads num_decoder_attention_heads num_experts num_local_experts "
        "n_routed_experts moe_num_experts laurel_rank gated_norm_rank rotary_dim state_size mamba_d_state "
        "ssm_state_size mamba_dt_rank time_step_rank linear_num_value_heads linear_num_heads patch_size "
        "swa_num_attention_heads d_rel"
    ),
    8: (
        "head_dim global_head_dim kv_channels attention_head_size dim_head d_head sliding_window window_size "
        "local_attention attention_chunk_size attention_window_size sliding_window_size kv_lora_rank "
        "q_lora_rank o_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim hc_lowrank mamba_n_heads "
        "mamba_d_head mamba_num_heads mamba_head_dim mamba_chunk_size chunk_size linear_key_head_dim "
        "linear_value_head_dim linear_head_dim hidden_size_per_layer_input pronunciation_embed_dim "
        "shape_embed_dim image_size num_mel_bins swa_head_dim query_pre_attn_scalar query_pre_attn_scaler "
        "num_landmarks embedding_rank block_size"
    ),
    11: "entity_vocab_size",
    16: (
        "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size "
        "shared_experts_intermediate_size moe_shared_expert_intermediate_size shared_intermediate_size "
        "qk_head_dim index_head_dim entity_emb_size max_source_positions rel_extent"
    ),
    20: "pronunciation_vocab_size shape_vocab_size",
    32: (
        "hidden_size d_model n_embd dim emb_dim embedding_size embedding_dim word_embed_proj_dim lru_width "
        "attention_hidden_size input_embedding_size output_embedding_size pooler_hidden_size "
        "prediction_head_size max_2d_position_embeddings"
    ),
    48: (
        "intermediate_size ffn_dim d_inner dff dim_ff hidden_dim ffn_hidden_size decoder_ffn_dim "
        "encoder_ffn_dim feed_forward_size intermediate_size_mlp dense_intermediate_size mlp_hidden_size"
    ),
    53: "ngram_vocab_size_base",
    64: (
        "max_position_embeddings n_positions n_ctx max_seq_len context_length model_max_length index_topk mamba_d_ssm"
    ),
    97: "vocab_size vocab_size_per_layer_input decoder_vocab_size",
}
SMALL: Mapping[str, object] = {name: value for value, names in _NAMES.items() for name in names.split()}
# What one type needs besides.
_PADDED = {"pad_token_id": 1, "bos_token_id": 0}  # position numbers begin after it
_LATENT = {"num_key_value_heads": 4}  # attention whose heads have a size of their own, that of the rotated part
OWN: Mapping[str, Mapping[str, object]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite"), _LATENT),
    **dict.fromkeys(("glm_moe_dsa", "longcat_flash", "minicpm3", "youtu"), _LATENT),
    **dict.fromkeys(("roberta", "camembert", "xlm-roberta", "mpnet", "esm", "data2vec-text", "ibert"), _PADDED),
    **dict.fromkeys(("roberta-prelayernorm", "xlm-roberta-xl"), _PADDED),
    "dots3_note": {"num_key_value_heads": 4},
    "dots3_note_text": {"num_key_value_heads": 4},
    "esmc": {"num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local", "local"], 1]]},
    "mamba2": {"num_heads": 8},
    "xmod": {**_PADDED, "languages": ["en_XX"], "default_language": "en_XX"},
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "layer_types": ["linear_attention", "hybrid", "hybrid"],
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
        "hybrid_layer_ids": [1, 2],
        "attention_hidden_size": 64,
        "n_mamba_heads": 8,
    },
    "zamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "attention_head_dim": 16, "num_key_value_heads": 4},
    "zaya": {"num_experts_per_tok": 1},
    "nystromformer": {"segment_means_seq_len": 64, "num_landmarks": 64},
}


def kinds() -> list[str]:
    """The model types that the library has with a causal or a masked head."""
    from transformers.models.auto import modeling_auto

    causal, masked = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return sorted({*causal, *masked})


def small_config(kind: str) -> Any:
    from transformers import CONFIG_MAPPING

    made = CONFIG_MAPPING[kind]
    names = {*vars(made()), *made.attribute_map}
    own = dict(OWN.get(kind, {}))
    inside = {
        name: _small(type(value))
        for name, value in vars(made()).items()
        if name.endswith("text_config") and hasattr(value, "attribute_map")
    }
    return made(**{**{name: value for name, value in SMALL.items() if name in names}, **inside, **own})


def _small(made: Any) -> dict[str, object]:
    names = {*vars(made()), *made.attribute_map}
    return {name: value for name, value in SMALL.items() if name in names}


def small_network(kind: str, *, seed: int = 0) -> nn.Module:
    """A small random model of a type; masked where the library has both heads."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForCausalLM, AutoModelForMaskedLM

    config = small_config(kind)
    auto = AutoModelForMaskedLM if type(config) in MODEL_FOR_MASKED_LM_MAPPING else AutoModelForCausalLM
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in auto.from_config(config).parameters())
    if parameters > LARGEST:
        raise ValueError(f"{kind} has {parameters:,} parameters")
    torch.manual_seed(seed)
    return randomize(auto.from_config(config))


def make_study(folder: Path, network: nn.Module) -> None:
    """Fill a folder with one small model, a tokenizer of the words of a text, the text, and settings for it."""
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    vocabulary = {word: number for number, word in enumerate([*special, *map(str, range(97 - len(special)))])}
    made = tk.Tokenizer(tk.models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = tk.pre_tokenizers.Whitespace()
    names = ("pad_token", "bos_token", "eos_token", "unk_token", "mask_token")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **dict(zip(names, special, strict=True)))
    tokenizer.save_pretrained(folder / "model")
    network.save_pretrained(folder / "model")
    generator = torch.Generator().manual_seed(0)
    lengths = [100, *torch.randint(2, 12, (149,), generator=generator).tolist()]  # one is longer than a model may read
    rows = [torch.randint(0, 92, (length,), generator=generator).tolist() for length in lengths]
    (folder / "text.txt").write_text("\n".join(f"{' '.join(map(str, row))}" for row in rows))
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params |= {"models": ["toy"], "corpus": "my-text", "sentences": {"train": 100, "validation": 40}}
    params["corpora"]["my-text"]["path"] = "text.txt"
    params["registry"] = {"toy": {"path": "model", "revision": None}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def run_stages_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all stages but the training of models, one after the other in this process."""
    monkeypatch.chdir(folder)
    for stage in ALL:
        asked = [] if stage.name.startswith("01_") else ["--model", "toy"]
        with_device = ["--device", "cpu"] if stage.name[:2] in ("04", "05", "06", "07", "08") else []
        monkeypatch.setattr(sys, "argv", [str(stage), *asked, *with_device])
        runpy.run_path(str(stage), run_name="__main__")
