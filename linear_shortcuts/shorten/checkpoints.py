"""Writing a shorter model as an ordinary checkpoint: whole or absent, and held against the model in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from linear_shortcuts.files import InputError, artifacts, atomic_folder, save_text
from linear_shortcuts.files.atomic import check_folder
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.shorten.choice import Shortened
from linear_shortcuts.shorten.comparison import logits_of
from linear_shortcuts.shorten.methods import SAVED
from linear_shortcuts.shorten.model_cards import text_of

RECORD = "shortened.json"  # the numbers of the card, for programs


def check_free(folder: str | Path) -> None:
    """Raise `InputError` where no checkpoint can be written, or something is: nothing is ever written over."""
    folder = Path(folder)
    check_folder(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; name a folder that is not, or remove it")


def check_method(method: str) -> None:
    """Raise `InputError` for a method whose models cannot be saved."""
    if method not in (*SAVED, "exit"):
        raise InputError(
            f"the method {method} multiplies the stream itself, for which no ordinary checkpoint has a place; it "
            "can be measured, but not saved: use fold or drop"
        )


def save(shortened: Shortened, folder: str | Path, tokenizer: Any, *, of: str, text: str) -> Path:
    """Write a checkpoint with its tokenizer, generation settings, card and table of candidates.

    It is loaded anew before it gets its name, by plain transformers, and must give the logits of the model in memory.
    of, text: the original's and the text's names, for the card.

    Raises `InputError` for a method that no checkpoint can hold, a folder that is not free, and a disk that is full.
    """
    check_method(shortened.made["method"])
    check_free(folder)
    with atomic_folder(folder) as coming:
        save_network(shortened.model.network, coming)
        tokenizer.save_pretrained(coming)
        record = {"made": shortened.made, "candidates": shortened.candidates, "report": shortened.report}
        artifacts.save_json(coming / RECORD, {"of": of, "text": text, **record})
        save_text(coming / "README.md", text_of(shortened, Path(folder).name, of, text, size(coming)))
        _verify(shortened.model, coming)
    return Path(folder)


def save_network(network: Any, folder: Path) -> None:
    """`save_pretrained`, whose writer of weights has an error of its own for a disk that is full."""
    from safetensors import SafetensorError

    had = [(config, config.use_cache) for config in (network.config, network.config.get_text_config())]
    try:
        for config, _ in had:
            config.use_cache = True  # as anyone expects it of a checkpoint; here loading turns it off
        network.save_pretrained(folder)
    except SafetensorError as error:
        raise InputError(f"the weights cannot be written ({error}); give the disk room and run again") from error
    finally:
        for config, own in had:
            config.use_cache = own
    for weights in folder.glob("*.safetensors"):  # its writer makes them private; a checkpoint is an ordinary file
        weights.chmod((folder / "config.json").stat().st_mode)


def size(folder: Path) -> int:
    """The bytes of a checkpoint's weights."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


@torch.inference_mode()
def _verify(model: LanguageModel, folder: Path) -> None:
    network = type(model.network).from_pretrained(folder, dtype=model.network.dtype).eval()
    ids = (torch.arange(7, 39, 2) * 37) % model.vocabulary
    loaded = network.to(model.device)(input_ids=ids[None].to(model.device)).logits[0].float()
    ours = logits_of(model, ids).float()
    apart = float((loaded - ours).abs().max() / ours.abs().max())
    if not apart <= max(1e-4, 16 * torch.finfo(model.network.dtype).eps):
        raise InputError(
            f"the checkpoint gives other logits, by {apart:.1g} of the largest, than the blocks that are kept: a model "
            f"of type {model.network.config.model_type} computes something by the number of a block, so it is not cut"
        )
