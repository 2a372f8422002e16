"""Self-speculation beside a checkpoint, as transformers loads it: `custom_generate/`, which needs nothing of ours.

    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    model.generate(ids, max_new_tokens=64, do_sample=False)     # the same tokens, sooner

The modules are this room's own, copied, with their imports of each other made relative.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from linear_shortcuts.decoding.generation import FLAT
from linear_shortcuts.decoding.shortcuts import SHORT_LIST, Shortcuts, head_of
from linear_shortcuts.files import InputError, atomic_folder, tensors as tensor_files
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states import provenance

FOLDER = "custom_generate"
TRAVELLING = ("choice", "full", "lookup", "short_list", "speculation", "stack", "tree")


def package(
    model: LanguageModel, shortcuts: Shortcuts, checkpoint: str | Path, *, width: int = 4, costs: Sequence[float] = FLAT
) -> Path:
    """Write `custom_generate/` into a checkpoint's folder; return it.

    checkpoint: the folder of the model that the shortcuts were fitted for, from which others will load it.
    width, costs: see `generate`.

    Raises `InputError` for shortcuts of another model or without a draft, and where there is no checkpoint or something
    of that name already.
    """
    provenance.check_model(shortcuts.card, model, "this set of shortcuts")
    checkpoint = Path(checkpoint)
    if not (checkpoint / "config.json").exists():
        raise InputError(f"{checkpoint} has no config.json; give the folder of the model that is to generate by itself")
    if (checkpoint / FOLDER).exists():
        raise InputError(f"{checkpoint / FOLDER} is there already; remove it first")
    shortcuts.check_drafts()
    paths, scale, cap = head_of(model)
    drafts = {name: affine for name, affine in shortcuts.maps.items() if name.startswith("draft.")}
    settings = {
        "blocks": model.family.blocks,
        "head": paths,
        "scale": scale,
        "cap": cap,
        "draft_layer": shortcuts.card["draft_layer"],
        "draft_middle": shortcuts.card["draft_middle"],
        "levels": shortcuts.drafts,
        "width": min(width, len(shortcuts.short_list)),
        "costs": list(costs),
        "longest": model.max_tokens,
        "weights_sha256": model.identity["weights_sha256"],
    }
    tensors = {f"{name}.weight": affine.weight for name, affine in drafts.items()}
    tensors |= {f"{name}.bias": affine.bias for name, affine in drafts.items() if affine.bias is not None}
    with atomic_folder(checkpoint / FOLDER) as coming:
        here = Path(__file__).parent
        for source, name in (("custom_generate", "generate"), *((module, module) for module in TRAVELLING)):
            text = (here / f"{source}.py").read_text(encoding="utf-8")
            (coming / f"{name}.py").write_text(text.replace("from linear_shortcuts.decoding.", "from ."), "utf-8")
        metadata = {"format": "pt", "settings": json.dumps(settings, sort_keys=True)}
        stored = {**dict(sorted(tensors.items())), SHORT_LIST: shortcuts.short_list}
        tensor_files.write(coming / "shortcuts.safetensors", stored, metadata)
    return checkpoint / FOLDER
