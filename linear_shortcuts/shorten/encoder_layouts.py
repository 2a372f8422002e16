"""Folders of sentence-transformers: what one says of itself, and one for an encoder that leaves early.

Such a folder holds a checkpoint and `modules.json`, which names what follows the blocks and the folder of each.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers.utils import cached_file

from linear_shortcuts.files import InputError, artifacts, atomic_folder, save_text, tensors as tensor_files
from linear_shortcuts.files.shapes import Each, check
from linear_shortcuts.files.sharing import base_model
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.shorten.checkpoints import RECORD, check_free, save_network, size
from linear_shortcuts.shorten.encoders import ShortEncoder, embed

MODULES = "modules.json"
_MODULES = {  # name of the folder -> class
    "": "sentence_transformers.models.Transformer",
    "1_Pooling": "sentence_transformers.models.Pooling",
    "2_Dense": "sentence_transformers.models.Dense",
    "3_Normalize": "sentence_transformers.models.Normalize",
}


def max_tokens_of(source: str, revision: str | None) -> int | None:
    """The tokens to which a folder, or a repository of the hub, cuts a sentence; None where it does not say.

    Raises `InputError` if its embeddings are not made by blocks, the mean over tokens and length 1. A plain checkpoint
    does not say how they are.
    """
    modules = _read(source, revision, MODULES, [Each(object)])
    if modules is None:
        return None
    kinds = [str(own.get("type", "")).rpartition(".")[2] for own in modules]
    pooling = _read(source, revision, "1_Pooling/config.json", Each(object)) or {}
    how = {key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True}
    how |= {f"pooling_mode_{pooling['pooling_mode']}"} if isinstance(pooling.get("pooling_mode"), str) else set()
    if kinds != ["Transformer", "Pooling", "Normalize"] or not how <= {"pooling_mode_mean", "pooling_mode_mean_tokens"}:
        raise InputError(
            f"{source} makes an embedding by {', '.join(kinds)} with {', '.join(sorted(how)) or 'the mean'}; give an "
            "encoder by Transformer, Pooling with pooling_mode_mean_tokens, Normalize"
        )
    most = (_read(source, revision, "sentence_bert_config.json", Each(object)) or {}).get("max_seq_length")
    return most if isinstance(most, int) else None


def _read(source: str, revision: str | None, name: str, shape: Any) -> Any:
    path = cached_file(
        source, name, revision=revision,
        _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    if path is None:
        return None
    value = artifacts.load_json(path)
    check(value, shape, f"{source}: {name}", "fetch it anew")
    return value


def save_encoder(encoder: ShortEncoder, folder: str | Path, tokenizer: Any, *, of: str, text: str) -> Path:
    """Write an encoder as a folder that sentence-transformers loads, with its tokenizer and card.

    It is loaded anew before it gets its name, and must give the embeddings of the encoder in memory. of, text: the
    original's and the text's names, for the card.

    Raises `InputError` for a folder that is not free, and a disk that is full.
    """
    check_free(folder)
    dense = encoder.dense
    assert dense.shift is not None
    with atomic_folder(folder) as coming:
        save_network(encoder.model.network, coming)
        tokenizer.save_pretrained(coming)
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": kind}
            for number, (path, kind) in enumerate(_MODULES.items())
        ]
        artifacts.save_json(coming / MODULES, modules)
        most = encoder.max_tokens or encoder.model.max_tokens
        artifacts.save_json(coming / "sentence_bert_config.json", {"max_seq_length": most, "do_lower_case": False})
        artifacts.save_json(coming / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
        for name in list(_MODULES)[1:]:
            (coming / name).mkdir()
        width = encoder.model.width
        artifacts.save_json(
            coming / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
        )
        config: dict[str, Any] = {"in_features": width, "out_features": len(dense.matrix), "bias": True}
        config["activation_function"] = "torch.nn.modules.linear.Identity"  # theirs by default: a tanh
        artifacts.save_json(coming / "2_Dense" / "config.json", config)
        weights = {"linear.weight": dense.matrix, "linear.bias": dense.shift}
        tensor_files.write(coming / "2_Dense" / "model.safetensors", weights)
        artifacts.save_json(coming / RECORD, {"of": of, "text": text, "made": encoder.made, "report": encoder.report})
        save_text(coming / "README.md", card(encoder, Path(folder).name, of, text, size(coming)))
        _verify(encoder, coming)
    return Path(folder)


def card(encoder: ShortEncoder, name: str, of: str, text: str, bytes_of_weights: int) -> str:
    """The README.md, in Markdown."""
    return "\n".join(
        [
            f"---\n{base_model(of)}library_name: sentence-transformers\n---", "",
            f"# {name}", "", summary(encoder, of), "",
            f"Fitted on, the penalty chosen by and reported on three separate parts of: {text}. Nothing was trained. "
            "Cosine to the original's embedding; recall@10: of a sentence's ten nearest by the original among those "
            "reported on, the share that is still among the ten nearest. In brackets 95 % intervals over sentences. "
            f"Speed: both encoders in turn on one machine. Weights on disk: {bytes_of_weights / 1e6:,.0f} MB.",
            "", "```python", "from sentence_transformers import SentenceTransformer",
            f'encoder = SentenceTransformer("{name}")',
            'embeddings = encoder.encode(["A sentence.", "And another one."])', "```", "",
        ]
    )  # fmt: skip


def summary(encoder: ShortEncoder, of: str) -> str:
    """What was made, and the numbers of the original, of this one, and of one without the map."""
    made, names = encoder.made, {"whole": "original", "shorter": "this encoder", "without": "the same without the map"}
    rows = []
    for key, own in encoder.report.items():
        shown = [f"{own[k]:.3f} [{own[f'{k}_low']:.3f}, {own[f'{k}_high']:.3f}]" for k in ("cosine", "recall")]
        cost = [f"{own['parameters']:,}", f"{own['sentences_per_second']:.0f}"] if "parameters" in own else ["–", "–"]
        rows.append([names[key], *shown, *cost])
    return (
        f"The first {made['start']} of the {made['of']} blocks of {of}, the mean over tokens, and one matrix in "
        "place of the other blocks; then length 1.\n\n"
        + markdown(["", "cosine", "recall@10", "parameters", "sentences/s"], rows)
    )


@torch.inference_mode()
def _verify(encoder: ShortEncoder, folder: Path) -> None:
    """Raise `InputError` if the checkpoint in a folder, by plain transformers, gives other embeddings."""
    network = type(encoder.model.network).from_pretrained(folder, dtype=encoder.model.network.dtype).eval()
    ids = (torch.arange(7, 39, 2) * 37)[None] % encoder.model.vocabulary
    loaded = replace(encoder.model, network=network.to(encoder.model.device))
    ours, theirs = (embed(model, encoder.dense, ids.to(model.device), None) for model in (encoder.model, loaded))
    apart = float((ours - theirs).abs().max())
    if not apart <= max(1e-4, 16 * torch.finfo(network.dtype).eps):
        raise InputError(f"the checkpoint gives other embeddings, by {apart:.1g}, than the blocks that are kept")
