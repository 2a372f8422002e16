"""Is a checkpoint what its user means? What a path holds, and what became of the names of its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linear_shortcuts.files import InputError, shown

ADAPTER, CONFIG = "adapter_config.json", "config.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx")
MOST_LABELS = 10**6
# Heads whose output is no token, by the names that the library's classes and their weights have.
_OTHER_HEADS = re.compile(r"For(\w*Classification|QuestionAnswering|MultipleChoice|NextSentencePrediction|Regression)")
_OTHER_WEIGHTS = re.compile(r"(score|classifier|qa_outputs)\.")
_ADAPTER_WEIGHTS = re.compile(r"\b(lora_[A-Za-z]+|base_layer|modules_to_save|prompt_encoder)\b")


def is_there(path: str | Path) -> bool:
    """Whether a name of a model is that of something on disk; `InputError` for one that nothing can have."""
    if not str(path).strip():
        raise InputError("the name of the model is empty; give a folder or a hub id")
    try:
        return Path(path).exists()
    except (OSError, ValueError) as error:  # too long, or a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(str(path))} names no model ({reason}); give a folder or a hub id") from error


def check_place(path: str | Path) -> None:
    """Raise `InputError` that says what a path is, if something is there that is no folder of a whole checkpoint."""
    if not is_there(path):
        return
    place = Path(path)
    if place.is_file():
        raise InputError(
            f"{path} is a file; name the folder that holds it together with its {CONFIG} and its tokenizer"
        )
    if not place.is_dir():
        return
    names = sorted(entry.name for entry in place.iterdir())
    if ADAPTER in names:
        raise InputError(
            f"{path} holds an adapter ({ADAPTER}{_made_for(place / ADAPTER)}), which would be left out; merge it with "
            "peft (merge_and_unload, then save_pretrained) and name the merged folder"
        )
    if CONFIG in names:
        labels = _read(place / CONFIG).get("num_labels")
        if isinstance(labels, int) and labels > MOST_LABELS:  # the library makes a name for each
            raise InputError(f"{path} has num_labels = {labels:,} in its {CONFIG}; set it to the number of its labels")
        return
    inside = [name for name in names if (place / name / CONFIG).is_file()]
    if inside:
        others = f" or {len(inside) - 1} others" if len(inside) > 1 else ""
        raise InputError(f"{path} is no checkpoint but holds some; name one of them: {place / inside[-1]}{others}")
    if not names:
        raise InputError(f"{path} is an empty folder; name one with {CONFIG}, weights and tokenizer")
    packed = next((name for name in names if name.endswith(".gguf")), None)
    if packed:
        raise InputError(f"{path} is no checkpoint but holds a GGUF file; name that: {place / packed}")
    found = next((name for name in names if name.endswith(WEIGHTS)), None)
    if found:
        raise InputError(f"{path} has weights ({found}) but no {CONFIG}; add the one they were saved with")
    raise InputError(f"{path} has no {CONFIG}, so it is no checkpoint folder; it holds {', '.join(names[:3])}")


def _made_for(path: Path) -> str:
    base = _read(path).get("base_model_name_or_path")
    return f", for {base[:100]}" if isinstance(base, str) else ""


def _read(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; an empty one if there is none, of which the library will complain."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def check_head(config: Any, path: str | Path) -> None:
    """Raise `InputError` if the checkpoint was saved with a head that gives no tokens, such as a classifier's."""
    names = getattr(config, "architectures", None) or []
    if not isinstance(names, list):
        raise InputError(f"{path} has architectures = {str(names)[:50]} in its {CONFIG}; it must be a list of names")
    made = next((name for name in names if _OTHER_HEADS.search(str(name))), None)
    if made:
        raise InputError(
            f"{path} was saved as {made}, whose head gives no tokens; name a checkpoint that was saved with its "
            "language-modelling head"
        )


def check_width(config: Any, path: str | Path) -> None:
    """Raise `InputError` if no weight of a local checkpoint is as wide as its configuration says.

    The library would first make a network of that width, which can take minutes and all of the memory.
    """
    from safetensors import SafetensorError, safe_open

    width = getattr(config.get_text_config(), "hidden_size", None)
    sizes: set[int] = set()
    for file in sorted(Path(path).glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - it is no mapping
                    sizes.update(weights.get_slice(name).get_shape())
        except (OSError, SafetensorError):
            return  # of which the library will complain
    if sizes and isinstance(width, int) and width not in sizes:
        raise InputError(
            f"{path} has hidden_size = {width} in its {CONFIG}, but no weight of that size; set it to what the "
            "checkpoint was trained with"
        )


def check_names(missing: Sequence[str], unexpected: Sequence[str], network: str, path: str | Path) -> None:
    """Raise `InputError` that says why weights are missing or left over; nothing is said of those left over by habit.

    missing: sorted names of `network`, a class, that the checkpoint lacks. unexpected: sorted names it has besides.
    """
    adapted = next((name for name in unexpected if _ADAPTER_WEIGHTS.search(name)), None)
    if adapted:
        raise InputError(
            f"{path} holds the weights of an adapter, such as {adapted}, which would be left out; merge it with peft "
            "(merge_and_unload, then save_pretrained) and name the merged folder"
        )
    for name in unexpected:
        wrapped = next((own for own in missing if name.endswith(f".{own}")), None)
        if wrapped:
            prefix = name.removesuffix(wrapped)
            raise InputError(
                f"{path} has weights whose names begin with {prefix}, as a wrapper such as torch.compile gives them; "
                f"save the model inside the wrapper, or take {prefix} off the names"
            )
    other = next((name for name in unexpected if _OTHER_WEIGHTS.match(name)), None)
    if other:
        raise InputError(
            f"{path} has the weights of another head, {other}, which gives no tokens; name a checkpoint that was saved "
            "with its language-modelling head"
        )
    if missing:  # the library would fill them with random numbers and say so in passing
        raise InputError(
            f"{path} lacks {len(missing)} weights, such as {missing[0]}, of {network}; give a checkpoint that was "
            "saved with its language-modelling head"
        )
