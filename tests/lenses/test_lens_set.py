"""Lenses of one kind: the same bytes every time, whole or refused, never in the wrong company."""

import json

import pytest
import tiny
import torch
from fitted import publish

from linear_shortcuts import InputError, LayerMaps
from linear_shortcuts.files.cards import read_card, write_card
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.lens_set import CARD, WEIGHTS, LensSet, lens_card
from linear_shortcuts.states.extraction import extract


@pytest.fixture(scope="module")
def model():
    return tiny.model("gpt2")


def made(model, *, rank=2):
    torch.manual_seed(0)
    card = lens_card(model, "low_rank_2", {"rows": 90, "seconds": 0.5})
    lenses = {
        i: Lens(
            "low_rank_2",
            i,
            model.layers,
            (torch.randn(rank, model.width), torch.randn(model.width, rank)),
            torch.randn(model.width),
            card,
        )
        for i in range(model.layers)
    }
    return LensSet(lenses, card)


def test_what_is_saved_is_what_is_loaded_and_the_bytes_are_the_same(model, tmp_path):
    lenses, h = made(model), torch.randn(5, model.width)
    lenses.save(tmp_path / "a")
    read = LensSet.load(tmp_path / "a", model)
    read.save(tmp_path / "b")
    for name in (WEIGHTS, "card.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (read.name, read.target, list(read), read.parameters) == ("low_rank_2", 3, [0, 1, 2], lenses.parameters)
    for i in lenses:
        assert torch.equal(read[i].transport(h), lenses[i].transport(h))
    assert read.card["fit"] == {"rows": 90, "seconds": 0.5}
    with pytest.raises(KeyError, match="layer 3"):
        read[3]


def test_lenses_of_another_model_are_refused_and_both_sides_named(model, tmp_path):
    other = tiny.model("gpt2", seed=3)
    made(model).save(tmp_path / "a")
    with pytest.raises(InputError) as error:
        LensSet.load(tmp_path / "a", other)
    for side in (model, other):
        assert side.identity["weights_sha256"][:12] in str(error.value)


def damaged_weights(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def damaged_card(folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "lens": "mat"}))


def rewritten(**others):
    def rewrite(folder):
        card = read_card(folder, CARD)
        write_card(folder, {**card, **others})

    return rewrite


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged_weights, f"{WEIGHTS} is not what its card says"),
        (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS} is not what its card says"),
        (damaged_card, r"card\.json is damaged"),
        (lambda folder: (folder / "card.json").unlink(), r"card\.json does not exist; run fit\.py first"),
        (rewritten(width=7), "shape"),
        (rewritten(sources=["0"]), "sources"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(model, tmp_path, spoil, words):
    made(model).save(tmp_path / "a")
    spoil(tmp_path / "a")
    with pytest.raises(InputError, match=words) as error:
        LensSet.load(tmp_path / "a", made_by="fit.py")
    assert "\n" not in str(error.value)


def test_numbers_that_are_not_finite_and_shapes_that_do_not_fit_are_refused(model, tmp_path):
    lenses = made(model)
    for bias, words in (
        (torch.full((model.width,), torch.nan), "not finite"),
        (torch.ones(3), "does not end at width"),
    ):
        card = lenses.card
        LensSet({0: Lens("affine", 0, 3, (), bias)}, card).save(tmp_path / "a")
        with pytest.raises(InputError, match=words):
            LensSet.load(tmp_path / "a")


def test_numbers_that_are_not_real_are_refused(model, tmp_path):
    LensSet({0: Lens("mat", 0, 3, (torch.eye(model.width, dtype=torch.complex64),))}, made(model).card).save(tmp_path)
    with pytest.raises(InputError, match=r"no real numbers in 0\.factor\.0"):
        LensSet.load(tmp_path)


def test_id_moves_nothing_and_mat_is_the_maps_own_jump(model, tmp_path):
    shard = extract(model, tiny.tokens(model, 60), 0, 60, 500)
    publish(model, shard, tmp_path, 60)
    maps = LayerMaps.load(tmp_path / "layers")
    mat, identity = LensSet.of_maps(maps), LensSet.identity(model)
    for i in range(model.layers):
        assert torch.equal(identity[i].transport(shard.hidden_states[i]), shard.hidden_states[i])
        assert torch.equal(mat[i].transport(shard.hidden_states[i]), maps.jump(shard.hidden_states[i], i, model.layers))
    mat.save(tmp_path / "mat")
    assert LensSet.load(tmp_path / "mat", model).card["fit"]["sentences"] == 60
    (tmp_path / "layers" / "card.json").unlink()
    with pytest.raises(InputError, match="has no card"):
        LensSet.of_maps(LayerMaps.load(tmp_path / "layers"))
