"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

# Read when the hub's libraries are imported: no test may reach the network, whatever it names by mistake.
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # a pytest-xdist worker: two workers with all threads each would only wait
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(repository) -> Path:
    """The folder of real texts and tokenizers beside the repository; skips where it is absent."""
    folder = repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: real texts and tokenizers are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def results():
    """Read-outs that get better with depth, as real ones do: fixed, early, and the tables of r2, exits, early exits."""
    import invented

    return invented.made()
