"""Fitted matrices: files anyone can open, applied the right way round, never in the wrong company."""

import pickle

import numpy as np
import pytest
import tiny
import torch
from fitted import publish

from linear_shortcuts import InputError, LayerMaps, SubmoduleMaps
from linear_shortcuts.maps.linear_maps import describe_ranks
from linear_shortcuts.scores.measures import r2, r2_pairs
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.states.provenance import check_states


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def fitted(request, tmp_path_factory):
    """A tiny model, its states, and the folders of its maps."""
    model = tiny.model(request.param)
    folder = tmp_path_factory.mktemp("linreg")
    shard = extract(model, tiny.tokens(model, 150), 0, 150, 500)
    publish(model, shard, folder, 150)
    return model, shard, folder


def test_every_pair_is_one_plain_pickle_of_a_square_float32_tensor(fitted):
    model, _, folder = fitted
    names = sorted(path.name for path in (folder / "layers").glob("*.pickle"))
    assert names == sorted(f"{i}_{j}.pickle" for i in range(tiny.LAYERS) for j in range(i + 1, tiny.LAYERS + 1))
    with (folder / "layers" / "0_2.pickle").open("rb") as file:
        matrix = pickle.load(file)
    assert type(matrix) is torch.Tensor
    assert matrix.dtype == torch.float32
    assert matrix.shape == (tiny.WIDTH, tiny.WIDTH)
    assert matrix.is_contiguous()


def test_a_jump_is_the_least_squares_prediction_and_its_transpose_is_not(fitted):
    model, shard, folder = fitted
    maps = LayerMaps.load(folder / "layers", model)
    x, y = shard.hidden_states[0], shard.hidden_states[2]
    expected = x.double().numpy() @ np.linalg.lstsq(x.double().numpy(), y.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(maps.jump(x, 0, 2), expected, atol=1e-3)
    np.testing.assert_allclose(maps[0, 2] @ x[5], maps.jump(x[5], 0, 2), atol=1e-5)
    assert np.abs((x @ maps[0, 2]).numpy() - expected).max() > 0.1
    assert torch.equal(maps.jump(x, 1, 1), x)


def test_a_jump_is_computed_in_float32_at_least_and_returned_in_the_states_own_precision(fitted):
    _, shard, folder = fitted
    maps = LayerMaps.load(folder / "layers")
    x = shard.hidden_states[0]
    assert torch.equal(maps.jump(x.double(), 0, 2), x.double() @ maps[0, 2].double().T)
    for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        states = x.to(dtype)
        assert torch.equal(maps.jump(states, 0, 2).float(), (states.float() @ maps[0, 2].T).to(dtype).float())


@pytest.mark.parametrize(
    ("states", "source", "target", "message"),
    [
        (torch.ones(5, tiny.WIDTH, dtype=torch.int64), 0, 2, "states are torch.int64; .* give floats"),
        (torch.ones(5, tiny.WIDTH, dtype=torch.bool), 1, 1, "states are torch.bool"),
        (torch.ones(5, tiny.WIDTH, dtype=torch.complex64), 0, 2, "states are torch.complex64"),
        (np.ones((5, tiny.WIDTH)), 0, 2, r"states is a ndarray; give a tensor, as torch.from_numpy makes"),
        (torch.ones(5, 7), 0, 2, rf"shape \(5, 7\), but these maps take \(\.\.\., {tiny.WIDTH}\)"),
        (torch.ones(5, 7), 1, 1, r"shape \(5, 7\)"),
        (torch.tensor(1.0), 0, 2, r"shape \(\)"),
        (torch.ones(tiny.WIDTH), 99, 99, r"no matrix for \(99, 99\); .* layers 0\.\.3"),
        (torch.ones(tiny.WIDTH), -1, -1, r"no matrix for \(-1, -1\)"),
        (
            torch.ones(tiny.WIDTH),
            2,
            1,
            r"no matrix for \(2, 1\); it has 6 others, each \(source, target\), source < target, layers",
        ),
        (torch.ones(tiny.WIDTH), 0, 4, r"no matrix for \(0, 4\)"),
    ],
)
def test_what_no_matrix_can_carry_is_refused_in_one_line(fitted, states, source, target, message):
    _, _, folder = fitted
    for maps in (LayerMaps.load(folder / "layers"), LayerMaps.load(bare(folder))):  # with a card and without
        with pytest.raises(InputError, match=message) as error:
            maps.jump(states, source, target)
        assert "\n" not in str(error.value)


def bare(folder):
    """The same matrices without their card."""
    import shutil

    shutil.copytree(folder / "layers", folder / "bare", dirs_exist_ok=True, ignore=shutil.ignore_patterns("card.json"))
    return folder / "bare"


def test_a_folder_beside_the_right_one_is_answered_with_the_right_one(fitted, tmp_path):
    _, _, folder = fitted
    for kind, name, other in ((LayerMaps, "layers", "submodules"), (SubmoduleMaps, "submodules", "layers")):
        for near in (folder, folder / other, folder / "lost"):
            with pytest.raises(InputError, match=rf"there are some in {folder / name}$"):
                kind.load(near)
        for above in (folder.parent, folder.parent.parent):  # of several models, or of none
            with pytest.raises(InputError, match=rf"there are some in {folder.parent.parent}/.*/{name}$"):
                kind.load(above)
        with pytest.raises(InputError, match=r"is no folder; run stages/0\.py first$"):
            kind.load(tmp_path / "lost", made_by="stages/0.py")
        with pytest.raises(InputError, match="is no folder; fit them first$"):
            kind.load(tmp_path / "lost")


def test_a_path_in_the_place_of_a_model_is_refused(fitted):
    model, _, folder = fitted
    for wrong, named in (("models/tiny-gpt2", "'models/tiny-gpt2'"), (model.network, type(model.network).__name__)):
        with pytest.raises(InputError, match=f"model is .*{named}; give what load_model or models.loading.wrap makes"):
            LayerMaps.load(folder / "layers", wrong)


def test_maps_say_in_one_line_what_they_are(fitted):
    _, _, folder = fitted
    maps = LayerMaps.load(folder / "layers")
    assert repr(maps) == f"LayerMaps(6 matrices between layers, of in memory, in {folder / 'layers'})"
    assert (maps.layers, maps.width) == (tiny.LAYERS, tiny.WIDTH)
    plain = LayerMaps.load(bare(folder))
    assert (plain.layers, plain.width) == (tiny.LAYERS, tiny.WIDTH)
    assert repr(plain) == f"LayerMaps(6 matrices between layers, in {folder / 'bare'})"
    assert "of a block" in repr(SubmoduleMaps.load(folder / "submodules"))


def test_on_the_train_split_no_map_is_worse_than_leaving_the_vector_alone(fitted):
    model, shard, folder = fitted
    maps = LayerMaps.load(folder / "layers", model)
    scores = r2_pairs([shard.hidden_states], {"mat": maps.jump, "id": lambda h, i, j: h}, maps)
    mat, identity = scores["mat"], scores["id"]
    assert len(mat) == tiny.LAYERS * (tiny.LAYERS + 1) // 2
    assert all(mat[pair] >= identity[pair] - 1e-9 for pair in mat)
    assert any(mat[pair] > identity[pair] + 0.01 for pair in mat)


def test_every_sub_step_of_every_block_has_a_stand_in(fitted):
    model, shard, folder = fitted
    maps = SubmoduleMaps.load(folder / "submodules", model)
    steps = list(enumerate(model.family.sources))
    assert list(maps) == [(block, source, step + 1) for block in range(tiny.LAYERS) for step, source in steps]
    for block, source, target in maps:  # a key is what its file is called
        assert (folder / "submodules" / f"p{block}_{source}_{target}.pickle").exists()
    with pytest.raises(KeyError, match=r"\d+ others, each \(block, site, site\), such as \(0, 0, 1\), \(0, 1, 2\)"):
        maps[0, 1]
    for block in range(tiny.LAYERS):
        sites = model.sites(
            block, shard.hidden_states[block], lambda states, block=block: shard.attention_outputs[block]
        )
        for step in range(6):
            expected = np.linalg.lstsq(sites[step].double().numpy(), sites[step + 1].double().numpy(), rcond=None)[0]
            ours = r2(sites[step + 1], sites[step] @ maps[block, step, step + 1].T)
            theirs = r2(sites[step + 1], sites[step].double() @ torch.from_numpy(expected))
            assert ours == pytest.approx(theirs, abs=1e-6)


def test_maps_of_another_model_are_refused_and_both_sides_named(fitted):
    model, _, folder = fitted
    other = tiny.model("bert" if model.name == "gpt2" else "gpt2", seed=3)
    for kind, name in ((LayerMaps, "layers"), (SubmoduleMaps, "submodules")):
        with pytest.raises(InputError) as error:
            kind.load(folder / name, other)
        for side in (model, other):
            assert side.identity["weights_sha256"][:12] in str(error.value)


def test_maps_and_states_of_different_corpora_are_refused(fitted):
    model, _, folder = fitted
    card = LayerMaps.load(folder / "layers").card
    check_states(card, card, "maps")
    for key, value in (("corpus", {"name": "other", "sentences_sha256": None}), ("seed", 7)):
        with pytest.raises(InputError, match=str(value if key == "seed" else "other")):
            check_states(card, {**card, key: value}, "maps")


def published(folder, **files):
    """Matrices as the study's authors published them: bare pickled tensors, no card."""
    folder.mkdir(exist_ok=True)
    for name, value in files.items():
        (folder / f"{name[1:]}.pickle").write_bytes(pickle.dumps(value))
    return folder


def test_the_authors_published_matrices_load(tmp_path):
    matrix = torch.randn(8, 8)
    maps = LayerMaps.load(published(tmp_path / "theirs", _3_12=matrix, _0_12=matrix.double()))
    assert torch.equal(maps[3, 12], matrix)
    assert maps[0, 12].dtype == torch.float32
    h = torch.randn(5, 8)
    torch.testing.assert_close(maps.jump(h, 3, 12), (matrix @ h.T).T)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.randn(8, 7), "shape"),
        (torch.randn(8), "shape"),
        (torch.full((8, 8), float("nan")), "not finite"),
        ([1, 2, 3], "holds a list"),
    ],
)
def test_a_file_that_is_no_square_finite_tensor_is_refused_by_name(tmp_path, value, message):
    maps = LayerMaps.load(published(tmp_path / "theirs", _0_1=value))
    with pytest.raises(InputError, match=rf"0_1\.pickle.*{message}"):
        maps[0, 1]


def test_matrices_of_another_width_than_the_models_are_refused(tmp_path):
    maps = LayerMaps.load(published(tmp_path / "theirs", _0_1=torch.eye(8)), tiny.model("gpt2"))
    with pytest.raises(InputError, match=r"\(8, 8\).*\(24, 24\)"):
        maps[0, 1]


def test_a_missing_pair_and_an_empty_folder_say_so(tmp_path):
    maps = LayerMaps.load(published(tmp_path / "theirs", _0_1=torch.eye(8)))
    with pytest.raises(KeyError, match=r"\(1, 2\)"):
        maps[1, 2]
    with pytest.raises(InputError, match=r"holds no matrices between layers; run stages/05_fit_layer_maps\.py first$"):
        LayerMaps.load(tmp_path, made_by="stages/05_fit_layer_maps.py")


def test_a_damaged_matrix_is_refused(fitted, tmp_path):
    import shutil

    _, _, folder = fitted
    copy = tmp_path / "layers"
    shutil.copytree(folder / "layers", copy)
    data = bytearray((copy / "0_1.pickle").read_bytes())
    data[-60] ^= 1
    (copy / "0_1.pickle").write_bytes(data)
    with pytest.raises(InputError, match=r"0_1\.pickle is damaged"):
        LayerMaps.load(copy)[0, 1]
    LayerMaps.load(copy)[0, 2]


def test_ranks_are_told_only_where_they_are_low():
    assert describe_ranks({"0": 8, "1": 8}, 8) == "all sources of full rank"
    assert "0: 5" in describe_ranks({"0": 5, "1": 8}, 8)


def test_a_lost_matrix_is_missed_and_a_foreign_one_is_not_taken_in(fitted, tmp_path):
    import shutil

    _, _, folder = fitted
    copy = tmp_path / "layers"
    shutil.copytree(folder / "layers", copy)
    (copy / "0_1.pickle").rename(copy / "0_9.pickle")
    maps = LayerMaps.load(copy, made_by="stages/05_fit_layer_maps.py")
    assert (0, 9) not in list(maps)
    assert (0, 1) in list(maps)
    with pytest.raises(InputError, match=r"0_1\.pickle does not exist; run stages/05_fit_layer_maps.py"):
        maps[0, 1]
