"""Tensors in a folder: what comes back, and what is refused."""

import contextlib
import resource

import pytest
import torch
from safetensors.torch import load_file

from linear_shortcuts import InputError
from linear_shortcuts.files import artifacts, atomic_folder, read_card, tensors

VALUE = {"map": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64).T, "ids": torch.tensor([7, 1])}


@pytest.fixture
def folder(tmp_path):
    tensors.save(tmp_path, "a.safetensors", VALUE, {"model": "toy"})
    return tmp_path


def card(folder):
    return read_card(folder, {"model": str})


def test_safetensors_own_reader_finds_floats_as_float32_and_ids_as_they_were(folder):
    stored = load_file(folder / "a.safetensors")
    assert {name: tensor.dtype for name, tensor in stored.items()} == {"map": torch.float32, "ids": torch.int64}
    for name, tensor in tensors.load(folder, "a.safetensors", card(folder), "fit it anew").items():
        assert torch.equal(tensor, stored[name])
        assert tensor.tolist() == VALUE[name].tolist()


def test_the_bytes_are_the_same_in_whatever_order_tensors_are_given(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    tensors.save(other, "a.safetensors", dict(reversed(VALUE.items())), {"model": "toy"})
    assert (other / "a.safetensors").read_bytes() == (folder / "a.safetensors").read_bytes()


def unreadable(folder):
    path = folder / "a.safetensors"
    path.write_bytes(b"no such format")
    return {"files": {path.name: artifacts.file_sha256(path)}}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: {"files": {"a.safetensors": "0"}}, "is not what its card says; fit it anew"),
        (lambda folder: {"files": {}}, "is not what its card says; fit it anew"),
        (unreadable, r"is no file of safetensors \(.*\); fit it anew"),
    ],
)
def test_a_file_that_is_not_the_cards_own_is_refused_in_one_line(folder, spoil, words):
    with pytest.raises(InputError, match=words) as error:
        tensors.load(folder, "a.safetensors", spoil(folder), "fit it anew")
    assert "\n" not in str(error.value)


@contextlib.contextmanager
def full_disk(room):
    """No file may grow beyond `room` bytes, as on a disk with as much left."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_full_disk_is_one_line_and_what_was_there_stays(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (
        full_disk(1000),
        pytest.raises(InputError, match=r"a\.safetensors cannot be written \(.*File too large"),
        atomic_folder(folder) as coming,
    ):
        tensors.save(coming, "a.safetensors", {"map": torch.zeros(10_000)}, {"model": "toy"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(folder.parent.glob(f".{folder.name}.*"))  # the room is given back


def test_a_file_is_as_readable_as_any_other(folder):
    assert (folder / "a.safetensors").stat().st_mode == (folder / "card.json").stat().st_mode
