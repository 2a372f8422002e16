"""Tiny random models as GGUF files, and the weights that such a file holds once it is dequantised."""

from pathlib import Path

import gguf
import numpy as np
import tiny
import torch

SIZES = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64,
         "vocab_size": 300, "rope_theta": 10000.0, "rms_norm_eps": 1e-5}  # fmt: skip
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(
    path: Path, kind: str = "Q4_1", *, architecture: str = "llama", tokenizer: bool = True, pre: str = "default"
) -> dict:
    """Write a random Llama of two blocks; returns the dequantised weights by their names in transformers."""
    network = tiny.random_network("llama", num_hidden_layers=2, **SIZES)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(tiny.CONTEXT)
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(2)
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_rope_dimension_count(SIZES["head_dim"])
    writer.add_rope_freq_base(SIZES["rope_theta"])
    writer.add_layer_norm_rms_eps(SIZES["rms_norm_eps"])
    writer.add_vocab_size(SIZES["vocab_size"])
    if tokenizer:
        _add_tokenizer(writer, pre)
    held = {}
    for name, weight in network.state_dict().items():
        made, rows = _name(name), _heads_apart(name, weight.numpy())
        if weight.ndim == 1:
            writer.add_tensor(made, rows)
            held[name] = weight
            continue
        packed = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[kind])
        writer.add_tensor(made, packed, raw_dtype=gguf.GGMLQuantizationType[kind])
        unpacked = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[kind])
        held[name] = torch.from_numpy(_heads_together(name, unpacked))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def _add_tokenizer(writer: gguf.GGUFWriter, pre: str) -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges = ["t h", "th e", "Ġ the", "c a", "ca t", "Ġ Ġ", "1 2"]
    special = ["<|end|>", "<|start|>", "<|pad|>"]
    tokens = [*special, *letters, *("".join(merge.split()) for merge in merges)]
    tokens += [f"<|unused{number}|>" for number in range(SIZES["vocab_size"] - len(tokens))]
    control, plain = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([control if token.startswith("<|") else plain for token in tokens])
    writer.add_token_merges(merges)
    writer.add_unk_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(2)


def _name(name: str) -> str:
    whole = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}
    if name in whole:
        return f"{whole[name]}.weight"
    _, _, block, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{block}.{NAMES[part]}.weight"


def _heads_apart(name: str, rows: np.ndarray) -> np.ndarray:
    """llama.cpp rotates neighbours, transformers halves: the rows of queries and keys lie in another order there."""
    if ".q_proj." not in name and ".k_proj." not in name:
        return rows
    return rows.reshape(-1, 2, SIZES["head_dim"] // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _heads_together(name: str, rows: np.ndarray) -> np.ndarray:
    if ".q_proj." not in name and ".k_proj." not in name:
        return rows
    return rows.reshape(-1, SIZES["head_dim"] // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape).copy()
