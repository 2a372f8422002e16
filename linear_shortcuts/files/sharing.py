"""Handing on what was fitted: safetensors, a card and a page about them, in a folder or on the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linear_shortcuts.files.errors import InputError, shown

Scores = Mapping[str, Mapping[str, float]]  # row -> column -> number, such as a layer's Precision@1 under a lens


class Shared:
    """What can be saved as a folder, pushed to the hub and read from either."""

    def save_pretrained(self, folder: str | Path, *, scores: Scores | None = None) -> None:
        """Write safetensors, `card.json` and a README that says what they are; scores: row -> column -> number."""
        raise NotImplementedError

    def push_to_hub(
        self, repo_id: str, *, scores: Scores | None = None, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload what `save_pretrained` writes to the hub, into a repository that is made if need be.

        Returns the address of the commit. Raises `InputError` if the hub refuses or cannot be reached.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

        hub = HfApi(token=token, library_name="linear-shortcuts")
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "shared"
            self.save_pretrained(folder, scores=scores)
            try:
                hub.create_repo(repo_id, private=private, exist_ok=True)
                commit = hub.upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message="Upload linear shortcuts"
                )
            except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
                raise InputError(
                    f"{repo_id} cannot be written on the hub ({shown(str(error), 200)}); log in with hf auth login"
                ) from error
        return str(commit.commit_url)


def fetch(source: str | Path, subfolder: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder `subfolder` of a local folder or of a repository of the hub, of which only `patterns` are fetched.

    Raises `InputError` if there is neither, or the hub cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source) / subfolder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    prefix = f"{subfolder}/" if subfolder else ""
    try:
        wanted = [prefix + pattern for pattern in patterns]
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=wanted)) / subfolder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"{source} is no folder, and the hub does not give it ({shown(str(error), 200)}); check name and network"
        ) from error


def base_model(model: str) -> str:
    """The line of the hub's header that says what something was made of; empty for what only this machine can find."""
    return f"base_model: {model}\n" if model.count("/") == 1 and not Path(model).exists() else ""


def about(what: str, card: Mapping[str, Any], fitted_on: str, usage: str, scores: Scores | None) -> str:
    """The README of a folder of fitted things, with the hub's header; usage: lines of Python."""
    model = card["model"]["id"]
    parts = [
        f"---\nlibrary_name: linear-shortcuts\ntags: [linear-shortcuts, interpretability]\n{base_model(model)}---",
        f"# {what} of {model}",
        f"Fitted on {fitted_on}, for the model with weights `{card['model']['weights_sha256'][:16]}…`, "
        f"{card['layers']} layers of width {card['width']}. They are refused with any other model.",
        f"```python\n{usage.strip()}\n```",
    ]
    if scores:
        heads = list(next(iter(scores.values())))
        rows = [f"| {row} | " + " | ".join(f"{own[head]:.3f}" for head in heads) + " |" for row, own in scores.items()]
        parts.append("\n".join([f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|", *rows]))
    return "\n\n".join(parts) + "\n"
