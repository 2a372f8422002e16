"""GGUF, llama.cpp's model in one file: where it is, how it is read, and what it is known by.

transformers reads it and dequantises the weights. Wherever a checkpoint is asked for, a path
that ends in `.gguf` is such a file: a local one, or one of a hub repository (`owner/name/file.gguf`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linear_shortcuts.files import InputError, artifacts

SUFFIX = ".gguf"
NEEDED = ("gguf", "accelerate")  # by transformers, to read such a file


def is_gguf(path: str | Path) -> bool:
    """Whether a path names a GGUF file."""
    return str(path).lower().endswith(SUFFIX)


def split(path: str | Path) -> tuple[str, str]:
    """The folder or hub id, and the file in it, as transformers takes them.

    Raises `InputError` if there is no such file, or if a package that reads it is missing.
    """
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise InputError(f"{path} is a GGUF file, which takes {absent[0]}; pip install 'linear-shortcuts[gguf]'")
    path = Path(path)
    if path.is_file():
        return str(path.parent), path.name
    owner, name, *file = path.parts if len(path.parts) > 2 else ("", "")
    if not file or path.is_absolute() or Path(owner).is_dir():
        raise InputError(f"{path} does not exist; give a GGUF file, or owner/name/file.gguf of the hub")
    return f"{owner}/{name}", "/".join(file)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Without the bars of the library's reader, which cannot be turned off otherwise."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def options() -> dict[str, Any]:
    """What transformers takes besides: newer versions may leave the weights packed unless told otherwise."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def unpack(network: Any) -> None:
    """Forget that the weights, matrices by now, came packed: the library would not save such a model."""
    network.hf_quantizer = None
    network.config.__dict__.pop("quantization_config", None)


def identity(path: str | Path, revision: str | None) -> dict[str, str]:
    """SHA-256 of the file, and the types of its weights, most numbers first, such as `Q4_1, F32`."""
    from gguf import GGUFReader
    from transformers.utils import cached_file

    folder, name = split(path)
    file = cached_file(folder, name, revision=revision)
    sizes: Counter[str] = Counter()
    for tensor in GGUFReader(file).tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    return {
        "file_sha256": artifacts.file_sha256(file),
        "quantisation": ", ".join(kind for kind, _ in sizes.most_common()),
    }
