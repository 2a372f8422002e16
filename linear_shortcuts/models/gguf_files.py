"""GGUF, llama.cpp's model in one file: where it is, how it is read, and what it is known by.

transformers reads it and dequantises the weights. Wherever a checkpoint is asked for, a path
that ends in `.gguf` is such a file: a local one, or one of a hub repository (`owner/name/file.gguf`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linear_shortcuts.files import InputError, artifacts
from linear_shortcuts.models.checkpoints import is_there

SUFFIX = ".gguf"
NEEDED = ("gguf", "accelerate")  # by transformers, to read such a file
# Of llama.cpp's names for how text is cut before it is merged, those that set digits apart and are GPT-2's otherwise.
# transformers knows others, and takes these for GPT-2's: two spaces before a number would be other tokens.
DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
_ONE_AT_A_TIME = threading.RLock()  # the scopes of `opened_once` change a package for all threads


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
    is_there(path)  # or no name that a file can have
    path = Path(path)
    if path.is_file():
        return str(path.parent), path.name
    owner, name, *file = path.parts if len(path.parts) > 2 else ("", "")
    if not file or path.is_absolute() or Path(owner).is_dir():
        raise InputError(f"{path} does not exist; give a GGUF file, or owner/name/file.gguf of the hub")
    return f"{owner}/{name}", "/".join(file)


@contextlib.contextmanager
def opened_once(path: str | Path) -> Iterator[None]:
    """A scope in which what a GGUF file says is read once, however often its model and tokenizer are asked for.

    To list 50,000 tokens and their merges takes the package's reader two seconds, and transformers opens the file four
    times for a model and its tokenizer; the names of weights it works out once for every module. Scopes nest; of
    another path nothing is done. Raises `InputError` as `split` does.
    """
    if not is_gguf(path):
        yield
        return
    split(path)
    package = importlib.import_module("gguf")
    slow = ("GGUFReader", "get_tensor_name_map")
    with _ONE_AT_A_TIME:
        before = {name: getattr(package, name) for name in slow}
        for name, function in before.items():
            setattr(package, name, functools.cache(function))
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(package, name, function)


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


def cut_as_trained(tokenizer: Any, path: str | Path, revision: str | None) -> None:
    """Cut text before the merges as the file says its vocabulary was made, where the library does not."""
    from tokenizers import pre_tokenizers

    field = _reader(_file(path, revision)).fields.get("tokenizer.ggml.pre")
    if field is not None and str(field.contents()) in DIGITS_APART:  # a damaged file may have a list there
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


def identity(path: str | Path, revision: str | None) -> dict[str, str]:
    """SHA-256 of the file, and the types of its weights, most numbers first, such as `Q4_1, F32`."""
    file = _file(path, revision)
    sizes: Counter[str] = Counter()
    for tensor in _reader(file).tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    return {
        "file_sha256": artifacts.file_sha256(file),
        "quantisation": ", ".join(kind for kind, _ in sizes.most_common()),
    }


def _file(path: str | Path, revision: str | None) -> str:
    from transformers.utils import cached_file

    folder, name = split(path)
    return str(cached_file(folder, name, revision=revision))


def _reader(file: str) -> Any:
    from gguf import GGUFReader

    return GGUFReader(file)
