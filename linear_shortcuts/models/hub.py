"""Asking the hub for what is not a local path."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from linear_shortcuts.files import InputError
from linear_shortcuts.models.checkpoints import ADAPTER

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def out_of_reach(path: str | Path) -> bool:
    """Whether the hub has no address here, so that only what is in the cache can be had of `path`.

    Its own client would try for half a minute. A proxy may know an address that this machine does not.
    Raises `InputError` that names the folder of the shipped models where that is meant.
    """
    from huggingface_hub import constants

    nearby = Path("models", path)
    if nearby.is_dir():
        raise InputError(f"{path} is no folder here, but {nearby} is; give that path, or the hub id with its owner")
    if any(name in os.environ for name in PROXIES):
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return True
    return False


def check_repository(path: str | Path, revision: str | None) -> None:
    """Raise `InputError` if a repository of the hub holds an adapter, which loading would leave out.

    A repository that cannot be read is left to whoever loads from it, and says why.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    away = out_of_reach(path)
    try:
        hf_hub_download(str(path), ADAPTER, revision=revision, local_files_only=away)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        return
    raise InputError(
        f"{path} holds an adapter ({ADAPTER}), which would be left out; merge it with peft (merge_and_unload, then "
        "save_pretrained) and name the merged folder"
    )
