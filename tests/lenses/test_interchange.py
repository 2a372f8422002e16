"""Other people's lens files: there and back, with the layers where they belong, and never for another model."""

import json
import resource

import pytest
import tiny
import torch

from linear_shortcuts import InputError
from linear_shortcuts.lenses.interchange import read_jacobian, read_tuned, write_jacobian, write_tuned
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.lens_set import LensSet, lens_card

MODEL = tiny.model("gpt2")
WIDTH, LAYERS = MODEL.width, MODEL.layers


def made(*, bias):
    card = lens_card(MODEL, "made", {"rows": 5})
    torch.manual_seed(0)
    lenses = {
        i: Lens("made", i, LAYERS, (torch.randn(WIDTH, WIDTH),), torch.randn(WIDTH) if bias else None, card)
        for i in range(LAYERS)
    }
    return LensSet(lenses, card)


def test_a_jacobian_lens_comes_back_and_its_layer_l_is_the_output_of_block_l(tmp_path):
    lenses = made(bias=False)
    write_jacobian(lenses, tmp_path / "j.pt")
    stored = torch.load(tmp_path / "j.pt", weights_only=True)
    assert (stored["source_layers"], stored["d_model"], stored["n_prompts"]) == ([0, 1], WIDTH, 5)
    assert torch.equal(stored["J"][0], lenses[1].factors[0].half())
    read = read_jacobian(tmp_path / "j.pt", MODEL)
    assert (list(read), read.target, read.card["fit"]["rows"]) == ([1, 2], LAYERS, 5)
    for i in read:
        torch.testing.assert_close(read[i].matrix, lenses[i].matrix, atol=2e-3, rtol=1e-3)
    with pytest.raises(InputError, match="no matrix alone"):
        write_jacobian(made(bias=True), tmp_path / "j.pt")


def test_a_tuned_lens_comes_back_and_is_what_its_own_formula_says(tmp_path):
    lenses, h = made(bias=True), torch.randn(4, WIDTH)
    write_tuned(lenses, tmp_path / "tuned", MODEL)
    stored = torch.load(tmp_path / "tuned" / "params.pt", weights_only=True)
    read = read_tuned(tmp_path / "tuned", MODEL)
    assert list(read) == [0, 1, 2]
    for i in read:
        expected = h + h @ stored[f"{i}.weight"].T + stored[f"{i}.bias"]
        torch.testing.assert_close(read[i].transport(h), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(read[i].transport(h), lenses[i].transport(h), atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="every layer to the last"):
        write_tuned(LensSet({1: lenses[1]}, lenses.card), tmp_path / "tuned", MODEL)


def test_files_for_another_model_are_refused(tmp_path):
    wide, deep, other = tiny.architecture("gpt_neox (Pythia)"), tiny.model("gpt2", layers=2), tiny.model("gpt2", seed=3)
    write_jacobian(made(bias=False), tmp_path / "j.pt")
    write_tuned(made(bias=True), tmp_path / "tuned", MODEL)
    for model, words in ((wide, "width 24"), (deep, "2")):
        with pytest.raises(InputError, match=words):
            read_jacobian(tmp_path / "j.pt", model)
        with pytest.raises(InputError, match=words):
            read_tuned(tmp_path / "tuned", model)
    with pytest.raises(InputError, match="another unembedding"):
        read_tuned(tmp_path / "tuned", other)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"n_prompts": 1, "d_model": WIDTH}, "lacks J"),
        ({"J": {0: torch.eye(3)}, "n_prompts": 1, "d_model": WIDTH}, "something else than a matrix"),
        ({"J": {0: torch.full((WIDTH, WIDTH), torch.inf)}, "n_prompts": 1, "d_model": WIDTH}, "not finite"),
        ({"J": {0: torch.optim.SGD}, "n_prompts": 1, "d_model": WIDTH}, "torch.optim"),
    ],
)
def test_what_is_no_jacobian_lens_is_refused_in_one_line_and_nothing_in_it_is_run(tmp_path, value, words):
    torch.save(value, tmp_path / "j.pt")
    with pytest.raises(InputError, match=words) as error:
        read_jacobian(tmp_path / "j.pt", MODEL)
    assert "\n" not in str(error.value)


def test_what_is_no_tuned_lens_is_refused_in_one_line(tmp_path):
    write_tuned(made(bias=True), tmp_path, MODEL)
    config = json.loads((tmp_path / "config.json").read_text())
    torch.save({"0.weight": torch.zeros(WIDTH, WIDTH)}, tmp_path / "params.pt")
    with pytest.raises(InputError, match="lacks 0.bias"):
        read_tuned(tmp_path, MODEL)
    for bias, words in (
        ("0", f"a bias of {WIDTH} numbers"),
        (torch.zeros(3), "a bias of"),
        (torch.full((WIDTH,), torch.inf), "not fin"),
    ):
        stored = {f"{i}.weight": torch.zeros(WIDTH, WIDTH) for i in range(LAYERS)}
        torch.save({**stored, **{f"{i}.bias": bias for i in range(LAYERS)}}, tmp_path / "params.pt")
        with pytest.raises(InputError, match=words):
            read_tuned(tmp_path, MODEL)
    (tmp_path / "config.json").write_text(json.dumps({**config, "d_model": "wide"}))
    with pytest.raises(InputError, match="d_model"):
        read_tuned(tmp_path, MODEL)


def test_a_full_disk_is_one_line(tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, usual[1]))
    try:
        for write in (
            lambda: write_jacobian(made(bias=False), tmp_path / "j.pt"),
            lambda: write_tuned(made(bias=True), tmp_path / "tuned", MODEL),
        ):
            with pytest.raises(InputError, match=r"cannot be written \(File too large\)"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list(tmp_path.iterdir()) == []
