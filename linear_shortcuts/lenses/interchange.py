"""Lenses in the files of others: the Jacobian lens's `.pt` and the folder of the tuned lens, read and written.

Both are refused where they were fitted for a model of another shape, and the tuned lens's where another head is what it
was fitted for. A `.pt` says nothing of the model's weights; whoever reads one vouches for those.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, artifacts, atomic_file, atomic_folder, shown
from linear_shortcuts.files.cards import check_replaceable
from linear_shortcuts.files.shapes import Each, Whole, check
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.lens_set import LensSet, lens_card
from linear_shortcuts.models import LanguageModel

CONFIG, PARAMS = "config.json", "params.pt"
_ANEW = "fit it anew for this model"


def read_jacobian(path: str | Path, model: LanguageModel) -> LensSet:
    """A Jacobian lens file: `J`, {layer: (d, d)}, `n_prompts`, `source_layers`, `d_model`; layer l there is our l + 1.

    Raises `InputError` for a file of another kind, width or depth.
    """
    value = artifacts.load(path)
    shape = {"J": Each(object, Whole(0, 10_000), empty=False), "n_prompts": Whole(), "d_model": Whole(1)}
    check(value, shape, path, "give the file of a Jacobian lens")
    _check_width(value["d_model"], model, path)
    fit = {"read_from": Path(path).name, "rows": value["n_prompts"]}
    card = lens_card(model, "jacobian", fit)
    lenses = {}
    for layer, matrix in value["J"].items():
        if layer + 1 >= model.layers:
            raise InputError(
                f"{path} has a lens of layer {layer} of blocks, but {model.name} has {model.layers}; {_ANEW}"
            )
        lenses[layer + 1] = Lens("jacobian", layer + 1, model.layers, (_read(matrix, model, path),), card=card)
    return LensSet(lenses, card)


def write_jacobian(lenses: LensSet, path: str | Path) -> None:
    """Write lenses without bias as a Jacobian lens file, in float16; ours of layer 0 has no place there."""
    if odd := [lens for lens in lenses.values() if lens.bias is not None or lens.matrix is None]:
        raise InputError(
            f"the lens {lenses.name} of layer {odd[0].source} is no matrix alone; this file holds nothing else"
        )
    matrices = {i - 1: lens.matrix.half() for i, lens in lenses.items() if i > 0 and lens.matrix is not None}
    value = {
        "J": matrices,
        "n_prompts": lenses.card["fit"].get("rows", 0),
        "source_layers": sorted(matrices),
        "d_model": lenses.card["width"],
    }
    _write(value, path)


def read_tuned(folder: str | Path, model: LanguageModel) -> LensSet:
    """The folder of a tuned lens: `config.json` and `params.pt`, transforms h + W h + b; layer l there is our l.

    Raises `InputError` for a folder of another kind, width or depth, or fitted for another unembedding.
    """
    folder = Path(folder)
    config = artifacts.load_json(folder / CONFIG)
    shape = {"d_model": Whole(1), "num_hidden_layers": Whole(1), "bias": bool, "unembed_hash": (str, None)}
    check(config, shape, folder / CONFIG, "give the folder of a tuned lens")
    _check_width(config["d_model"], model, folder)
    if config["num_hidden_layers"] != model.layers:
        raise InputError(
            f"{folder} is for {config['num_hidden_layers']} blocks, {model.name} has {model.layers}; {_ANEW}"
        )
    if config["unembed_hash"] not in (None, _unembed_hash(model)):
        raise InputError(f"{folder} was fitted for another unembedding than that of {model.name}; {_ANEW}")
    stored = artifacts.load(folder / PARAMS)
    check(stored, Each(object), folder / PARAMS, "give the folder of a tuned lens")
    known = {key: shown(str(config.get(key))) for key in ("base_model_name_or_path", "base_model_revision")}
    card = lens_card(model, "tuned", {"read_from": folder.name, **known})
    identity, lenses = torch.eye(model.width), {}
    for layer in range(model.layers):
        names = [f"{layer}.weight", *([f"{layer}.bias"] if config["bias"] else [])]
        if missing := [name for name in names if name not in stored]:
            raise InputError(f"{folder / PARAMS} lacks {missing[0]}; give the folder of a tuned lens")
        matrix = identity + _read(stored[names[0]], model, folder / PARAMS)
        bias = _read(stored[names[1]], model, folder / PARAMS, sizes=1) if config["bias"] else torch.zeros(model.width)
        lenses[layer] = Lens("tuned", layer, model.layers, (matrix,), bias, card)
    return LensSet(lenses, card)


def write_tuned(lenses: LensSet, folder: str | Path, model: LanguageModel) -> None:
    """Write lenses of all layers to the last as the folder of a tuned lens."""
    if list(lenses) != list(range(model.layers)) or lenses.target != model.layers:
        raise InputError(f"the lens {lenses.name} does not lead from every layer to the last, as a tuned lens does")
    identity, stored = torch.eye(model.width), {}
    for i, lens in lenses.items():
        stored[f"{i}.weight"] = (identity if lens.matrix is None else lens.matrix) - identity
        stored[f"{i}.bias"] = torch.zeros(model.width) if lens.bias is None else lens.bias
    config: Mapping[str, Any] = {
        "base_model_name_or_path": model.identity["id"],
        "base_model_revision": model.identity["revision"],
        "d_model": model.width,
        "num_hidden_layers": model.layers,
        "bias": True,
        "lens_type": "linear_tuned_lens",
        "unembed_hash": _unembed_hash(model),
    }
    check_replaceable(folder, (CONFIG, PARAMS))
    with atomic_folder(folder) as coming:
        artifacts.save_json(coming / CONFIG, config)
        _write(stored, coming / PARAMS)


def _write(value: Any, path: str | Path) -> None:
    """`torch.save`, which has errors of its own for a disk that is full, where a file has one that says so."""
    content = io.BytesIO()
    torch.save(value, content)
    with atomic_file(path) as file:
        file.write(content.getbuffer())


def _unembed_hash(model: LanguageModel) -> str:
    """SHA-256 of the float32 bytes of the unembedding, (V, d), as the tuned lens's own files have it."""
    weight = model.network.get_output_embeddings().weight.detach().float().cpu().contiguous()
    return hashlib.sha256(weight.numpy().tobytes()).hexdigest()


def _check_width(width: int, model: LanguageModel, path: str | Path) -> None:
    if width != model.width:
        raise InputError(f"{path} is for a model of width {width}, but {model.name} has {model.width}; {_ANEW}")


def _read(value: Any, model: LanguageModel, path: str | Path, sizes: int = 2) -> Tensor:
    """A matrix (d, d), or with one of the `sizes` a vector (d,), that a file holds."""
    if not isinstance(value, Tensor) or value.shape != (model.width,) * sizes or not value.is_floating_point():
        what = f"a matrix of {model.width} by {model.width}" if sizes == 2 else f"a bias of {model.width} numbers"
        raise InputError(f"{path} holds something else than {what}; {_ANEW}")
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{path} has values that are not finite; {_ANEW}")
    return value.float()
