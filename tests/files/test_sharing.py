"""What is shared comes back the same, from a folder and from a hub that is asked over HTTP, and knows its model."""

import pickle

import fake_hub
import pytest
import tiny
import torch
from fitted import publish
from huggingface_hub import constants

from linear_shortcuts import InputError, LayerMaps, SubmoduleMaps
from linear_shortcuts.lenses import LensSet
from linear_shortcuts.states.extraction import extract


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model and everything of it that can be shared."""
    model, folder = tiny.model("gpt2"), tmp_path_factory.mktemp("made")
    shard = extract(model, tiny.tokens(model, 150), 0, 150, 500)
    publish(model, shard, folder, 150)
    maps = LayerMaps.load(folder / "layers", model)
    return model, {
        "LayerMaps": maps,
        "SubmoduleMaps": SubmoduleMaps.load(folder / "submodules", model),
        "mat": LensSet.of_maps(maps),
        "id": LensSet.identity(model),
    }


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with fake_hub.running() as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server


KINDS = ["LayerMaps", "SubmoduleMaps", "mat", "id"]
SCORES = {"layer 1": {"id": 0.25, "mat": 0.5}}


def same(ours, theirs):
    if isinstance(ours, LensSet):
        ours, theirs = ours.tensors, theirs.tensors
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_opened_it_is_the_same_and_refuses_another_model(made, kind, tmp_path):
    model, things = made
    things[kind].save_pretrained(tmp_path / "shared", scores=SCORES)
    opened = type(things[kind]).from_pretrained(tmp_path / "shared", model)
    same(things[kind], opened)
    page = (tmp_path / "shared" / "README.md").read_text()
    assert "| layer 1 | 0.250 | 0.500 |" in page
    assert f"{type(things[kind]).__name__}.from_pretrained" in page
    compile(page.partition("```python\n")[2].partition("```")[0], "README.md", "exec")
    with pytest.raises(InputError, match="was made with"):
        type(things[kind]).from_pretrained(tmp_path / "shared", tiny.model("gpt2", seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_pushed_and_pulled_it_is_the_same(made, kind, hub):
    model, things = made
    address = things[kind].push_to_hub("me/shared", token="hf_none")
    assert address == f"{hub.url}/me/shared/commit/{fake_hub.COMMIT}"
    assert {"README.md", "card.json"} < set(hub.files["me/shared"])
    same(things[kind], type(things[kind]).from_pretrained("me/shared", model))


def test_what_the_hub_refuses_or_lacks_is_said_in_one_line(made, hub):
    hub.refuses = True
    with pytest.raises(InputError, match="me/shared cannot be written on the hub .*hf auth login"):
        made[1]["mat"].push_to_hub("me/shared", token="hf_none")
    with pytest.raises(InputError, match="me/nothing is no folder, and the hub does not give it"):
        LayerMaps.from_pretrained("me/nothing")


def test_the_pickles_of_the_studys_authors_open_from_their_layout(made, hub, tmp_path):
    """MODEL/CORPUS/i_j.pickle, each one tensor, as their programs write them; other models lie beside."""
    maps = made[1]["LayerMaps"]
    files = {f"gpt2/wikipedia/{i}_{j}.pickle": pickle.dumps(matrix) for (i, j), matrix in maps.items()}
    hub.files["sashay/linear-shortcut"] = {**files, "gpt2-xl/wikipedia/0_1.pickle": b"never asked for"}
    same(maps, LayerMaps.from_pretrained("sashay/linear-shortcut", made[0], subfolder="gpt2/wikipedia"))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    same(maps, LayerMaps.from_pretrained(tmp_path, subfolder="gpt2/wikipedia"))
    (tmp_path / "gpt2/wikipedia/0_1.pickle").write_bytes(pickle.dumps(print))
    with pytest.raises(InputError, match="print"):
        LayerMaps.from_pretrained(tmp_path, subfolder="gpt2/wikipedia")[0, 1]


def test_maps_of_nobody_and_files_that_were_changed_are_refused(made, tmp_path):
    with pytest.raises(InputError, match="has no card, so whose states its maps carry is not known"):
        LayerMaps.of({(0, 1): torch.eye(4)}).save_pretrained(tmp_path / "x")
    made[1]["LayerMaps"].save_pretrained(tmp_path / "shared")
    path = tmp_path / "shared" / "maps.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is not what its card says"):
        LayerMaps.from_pretrained(tmp_path / "shared")
