"""Files between the stages: byte-deterministic, written atomically, loaded without running anything.

A pickle written here opens with a plain `pickle.load`. A pickle from elsewhere opens with `load`, which rebuilds
tensors, arrays and plain containers and refuses every other global before anything is called.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from shortcuts.errors import InputError

PROTOCOL = 4  # fixed, so that a newer Python writes the same bytes


# --- writing -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file beside `path` and rename it into place on success: a reader never sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp is private; an artifact is an ordinary file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


class _Pickler(pickle.Pickler):
    """Pickles values, never identities, so that equal data gives equal bytes in every process."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, protocol=PROTOCOL)
        # Memoisation depends on which objects happen to be the same object (an interned string, a tensor loaded
        # from a file), hence differs between a resumed and an uninterrupted run. Our data are trees; do without.
        self.fast = True

    def reducer_override(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            array = np.ascontiguousarray(value.detach().cpu().numpy())
            return torch.from_numpy, (array,)
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise TypeError("arrays of Python objects are not artifacts; save a list")
            if not value.flags.c_contiguous:
                return np.ascontiguousarray(value).__reduce__()  # else the memory layout would show in the bytes
        if isinstance(value, (set, frozenset)):
            raise TypeError("a set has no order, hence no reproducible bytes; save a sorted list")
        return NotImplemented


def save(path: str | os.PathLike[str], value: Any) -> str:
    """Pickle tensors, arrays and plain containers to `path`; return the SHA-256 of the bytes.

    The same value gives the same bytes in every process; tensors come back from `pickle.load` as `torch.Tensor`.
    """
    with atomic_file(path) as file:
        hashing = _HashingFile(file)
        _Pickler(hashing).dump(value)  # type: ignore[arg-type]
    return hashing.digest.hexdigest()


class _HashingFile:
    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)


def save_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with keys in the given order."""
    with atomic_file(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


# --- reading -----------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], *, made_by: str | None = None, sha256: str | None = None) -> Any:
    """Load a pickle (or a `torch.save` file) of tensors, arrays and plain containers.

    made_by: the stage script that writes this file, named in the error when the file is missing.
    sha256: the checksum the bytes must have.

    Raises `InputError` that names the file, and the forbidden global if there is one. Nothing in the file is ever
    called except the rebuilding of tensors and arrays.
    """
    path = Path(path)
    if not path.is_file():
        mend = f"; run {made_by} first" if made_by else ""
        raise InputError(f"{path} does not exist{mend}")
    if sha256 is not None and file_sha256(path) != sha256:
        raise InputError(f"{path} is damaged: its bytes are not those that were written; make it anew")
    with path.open("rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _torch_load(path)
            file.seek(0)
            return _Unpickler(file, path).load()
        except InputError:
            raise
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError,
                ImportError, OverflowError, MemoryError, RuntimeError, zipfile.BadZipFile) as error:  # fmt: skip
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"{path} is not a whole, well-formed pickle ({reason}); make it anew") from error


def _torch_load(source: Any) -> Any:
    import torch

    return torch.load(source, map_location="cpu", weights_only=True)


def _reconstruct(subtype: type, shape: Any, typecode: Any) -> np.ndarray:
    # numpy writes an empty array and fills it afterwards; any other shape would allocate at the file's command.
    if subtype is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError(f"array of shape {shape} rebuilt in an unusual way")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _get_from_numpy(owner: Any, name: str) -> Callable[..., Any]:
    # `torch.from_numpy` is a method of an internal class, so Python pickles it as getattr(class, name).
    import torch

    if owner is not _TORCH_FUNCTIONS or name != "from_numpy":
        raise pickle.UnpicklingError(f"forbidden global getattr(…, {name!r})")
    return torch.from_numpy


def _load_tensor_storage(data: bytes) -> Any:
    # What `pickle.dump(tensor)` refers to as torch.storage._load_from_bytes, which would unpickle without limits.
    return _torch_load(io.BytesIO(data))


_TORCH_FUNCTIONS = object()  # stands for the internal class without handing it out


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy._core.multiarray", "numpy.core.multiarray") and name == "_reconstruct":
            return _reconstruct
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            import torch._utils

            return torch._utils._rebuild_tensor_v2
        raise InputError(
            f"{self.path} refers to {module}.{name}, which tensors and plain containers never do; "
            "it was not loaded, because a pickle can run any code it names"
        )


_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "getattr"): _get_from_numpy,
    ("torch._C", "_VariableFunctionsClass"): _TORCH_FUNCTIONS,
    ("torch.storage", "_load_from_bytes"): _load_tensor_storage,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
}


def load_json(path: str | os.PathLike[str], *, made_by: str | None = None) -> Any:
    """Read a JSON file; `InputError` names the file (and the stage `made_by` that makes it) if it cannot be."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        mend = f"; run {made_by} first" if made_by else ""
        raise InputError(f"{path} does not exist{mend}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); make it anew") from error


# --- identity ----------------------------------------------------------------------------------------------


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(recipe: Any) -> str:
    """SHA-256 of a JSON-able recipe (parameters, input hashes), independent of the order of its keys."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
