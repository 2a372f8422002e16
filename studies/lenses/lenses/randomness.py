"""A model's shape with weights drawn anew: the control of what is found inside of a trained one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from linear_shortcuts.files import atomic_folder, derive


def redrawn(network: Any, seed: int) -> Any:
    """A network of the same class and configuration, its weights as its family draws them before training."""
    config = copy.deepcopy(network.config)
    if hasattr(config, "quantization_config"):  # of how its weights were stored, which these never were
        del config.quantization_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "random weights") % 2**63)
        return type(network)._from_config(config, dtype=torch.float32)


def save(network: Any, tokenizer: Any, folder: Path) -> None:
    """Write an ordinary checkpoint, replacing what was there."""
    with atomic_folder(folder) as coming:
        network.save_pretrained(coming)
        tokenizer.save_pretrained(coming)
