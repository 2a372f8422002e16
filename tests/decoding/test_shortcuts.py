"""Shortcuts as files: the same bytes, the same values, and never for another model."""

import pytest
import tiny
import torch

from linear_shortcuts.decoding import Shortcuts, calibrate
from linear_shortcuts.decoding.shortcuts import WEIGHTS, stack_of
from linear_shortcuts.decoding.stack import Affine
from linear_shortcuts.files import InputError

ROWS = torch.randint(5, 90, (16, 20), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def fitted():
    model = tiny.architecture("llama")
    return model, calibrate(model, ROWS, exits=[1], draft_levels=1, short_list=30)


def test_what_is_saved_is_loaded_and_saved_again_to_the_same_bytes(fitted, tmp_path):
    model, shortcuts = fitted
    shortcuts.save(tmp_path / "one")
    loaded = Shortcuts.load(tmp_path / "one", model)
    assert loaded.maps.keys() == shortcuts.maps.keys()
    for name, affine in loaded.maps.items():
        assert torch.equal(affine.weight, shortcuts.maps[name].weight)
        assert torch.equal(affine.bias, shortcuts.maps[name].bias)
    assert torch.equal(loaded.short_list, shortcuts.short_list)
    loaded.save(tmp_path / "two")
    for file in (WEIGHTS, "card.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert "exits [1]" in repr(loaded)


def test_what_is_asked_for_is_found_by_name(fitted):
    model, shortcuts = fitted
    assert set(shortcuts.guesses("map")) == {(1, 2)}
    assert set(shortcuts.guesses("kv_map")) == {(1, 1), (1, 2)}
    assert shortcuts.guesses("copy") == {}
    draft = shortcuts.draft(stack_of(model), width=99)
    assert (draft.layer, len(draft.levels), draft.width) == (0, 1, 30)


def test_another_model_and_a_damaged_file_are_refused(fitted, tmp_path):
    model, shortcuts = fitted
    shortcuts.save(tmp_path / "one")
    with pytest.raises(InputError, match="was made with in memory"):
        Shortcuts.load(tmp_path / "one", tiny.architecture("llama", seed=1))
    (tmp_path / "one" / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(InputError, match="is not what its card says"):
        Shortcuts.load(tmp_path / "one", model)


def other(maps):
    return Affine(maps["exit.1"].weight.clone(), maps["exit.1"].bias.clone())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps, ids: ({**maps, "exit.7": other(maps)}, ids), "holds exit.7.bias, which is no map of llama"),
        (lambda maps, ids: ({**maps, "draft.0": other(maps)}, ids), "draft.0.weight"),
        (lambda maps, ids: (maps, ids + 9999), "short list of no tokens, or of others"),
        (lambda maps, ids: (maps, ids[:0]), "short list of no tokens, or of others"),
    ],
)
def test_maps_that_are_none_of_the_models_are_refused_when_they_are_read(fitted, tmp_path, change, message):
    model, shortcuts = fitted
    maps, ids = change(dict(shortcuts.maps), shortcuts.short_list)
    Shortcuts(maps, ids, shortcuts.card).save(tmp_path / "made")
    with pytest.raises(InputError, match=message):
        Shortcuts.load(tmp_path / "made", model)


def test_a_folder_that_holds_other_things_is_not_replaced(fitted, tmp_path):
    _, shortcuts = fitted
    shortcuts.save(tmp_path / "made")
    shortcuts.save(tmp_path / "made")  # its own it may write anew
    (tmp_path / "made" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt, which would be lost"):
        shortcuts.save(tmp_path / "made")
