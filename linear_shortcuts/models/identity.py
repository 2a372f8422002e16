"""What a model is known by: its weights, and what its configuration says of the computation."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from torch import nn


def computing_config(config: Any) -> dict[str, Any]:
    """What a configuration says of the computation: the same weights compute something else with another epsilon."""
    values = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in values.items() if not _SAYS_NOTHING.search(key)}


# Who made it with what, how it is trained, what is returned in which form and kept for later.
_SAYS_NOTHING = re.compile(
    r"^(_name_or_path|_model_name_or_path|transformers_version|architectures|dtype|torch_dtype|auto_map|use_cache|initializer_.*|summary_.*"
    r"|classifier_.*|output_.*|return_dict|problem_type|task_specific_params|id2label|label2id)$|dropout|_pdrop$"
)


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the names and float32 bytes of all parameters and stored statistics, in order of name."""
    stored = network.state_dict()
    statistics = {name: buffer for name, buffer in network.named_buffers() if name in stored}  # as of a batch norm
    digest = hashlib.sha256()
    for name, tensor in sorted({**dict(network.named_parameters()), **statistics}.items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().float().cpu().contiguous().numpy())  # type: ignore[arg-type]
    return digest.hexdigest()
