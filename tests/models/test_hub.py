"""What is not a local path: the hub where it can be asked, its cache where it cannot."""

import json
import socket
import time

import pytest

from linear_shortcuts.files import InputError
from linear_shortcuts.models import hub, load_model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub's with one repository, which holds an adapter, on a machine without network."""
    snapshot = tmp_path / "models--org--adapted" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (snapshot / "adapter_config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in hub.PROXIES:
        monkeypatch.delenv(name, raising=False)

    def nowhere(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_network_the_answer_comes_at_once(cache):
    start = time.perf_counter()
    with pytest.raises(InputError, match="org/other as a local folder or a hub id .* not in the cache"):
        load_model("org/other")
    assert time.perf_counter() - start < 5  # the hub's own client gives up after half a minute


def test_a_proxy_may_know_the_way(cache, monkeypatch):
    assert hub.out_of_reach("org/other")
    monkeypatch.setenv("https_proxy", "http://localhost:1")
    assert not hub.out_of_reach("org/other")


def test_an_adapter_in_a_repository_is_refused(cache):
    with pytest.raises(InputError, match=r"org/adapted holds an adapter \(adapter_config.json\)"):
        load_model("org/adapted")
