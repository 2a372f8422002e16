"""Tensors in a folder: one file of safetensors, and the card beside it that holds the file's checksum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from linear_shortcuts.files import artifacts
from linear_shortcuts.files.atomic import writing
from linear_shortcuts.files.cards import write_card
from linear_shortcuts.files.errors import InputError


def save(folder: Path, name: str, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write the tensors, floats as float32, and the card; into a folder that is there, as of `atomic_folder`."""
    write(folder / name, tensors)
    write_card(folder, {**card, "files": {name: artifacts.file_sha256(folder / name)}})


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors, floats as float32, to one file of safetensors, as readable as any other.

    Raises `InputError` where it cannot be written.
    """
    stored = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
    stored = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in stored.items()}
    with writing(path):
        path.touch()
        mode = path.stat().st_mode  # the library's writer makes its files private
        try:
            save_file(stored, path, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        path.chmod(mode)


def load(folder: Path, name: str, card: Mapping[str, Any], mend: str) -> dict[str, Tensor]:
    """The tensors of a folder whose card has been read; mend: what helps where they are not what it says.

    Raises `InputError` for a file that is missing, has been changed, or is not of this format.
    """
    path = folder / name
    if not path.is_file() or artifacts.file_sha256(path) != card["files"].get(name):
        raise InputError(f"{path} is not what its card says; {mend}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is no file of safetensors ({error}); {mend}") from error
