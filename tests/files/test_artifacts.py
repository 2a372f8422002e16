"""Files between the stages: the same bytes for the same value, whole or absent, nothing called at their command."""

import collections
import functools
import hashlib
import itertools
import pickle
import re
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from fresh_process import in_fresh_process
from hypothesis import given, settings, strategies as st

from linear_shortcuts.files import artifacts
from linear_shortcuts.files.errors import InputError

# --- values ------------------------------------------------------------------------------------------------

DTYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_, np.complex64])
ARRAYS = npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | ARRAYS
    | ARRAYS.map(torch.from_numpy)
)
SMALL_NUMBERS = st.integers(-(2**19), 2**19)
KEYS = (
    st.text(max_size=4)
    | st.integers(-(2**59), 2**59)
    | st.booleans()
    | st.tuples(st.text(max_size=4), SMALL_NUMBERS)
    | st.tuples(SMALL_NUMBERS, SMALL_NUMBERS, SMALL_NUMBERS)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a, b) -> bool:
    """Equal in type, dtype, shape and every bit: nan equals nan, 0.0 differs from -0.0, 1 from True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(map(repr, a)) == list(map(repr, b)) and all(map(same, a.values(), b.values()))
    return repr(a) == repr(b)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("artifacts")


# --- round trips -------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_saved_is_loaded(folder, value):
    artifacts.save(folder / "value.pickle", value)
    assert same(artifacts.load(folder / "value.pickle"), value)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_a_loaded_value_is_saved_to_the_same_bytes(folder, value):
    first = artifacts.save(folder / "first.pickle", value)
    again = artifacts.save(folder / "again.pickle", artifacts.load(folder / "first.pickle"))
    assert again == first == artifacts.file_sha256(folder / "again.pickle")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64, torch.uint16, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3)])
def test_a_plain_pickle_load_gives_a_tensor_of_the_same_dtype_shape_and_values(tmp_path, dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    artifacts.save(tmp_path / "x.pickle", tensor)
    with open(tmp_path / "x.pickle", "rb") as file:
        loaded = pickle.load(file)
    assert type(loaded) is torch.Tensor
    assert (loaded.dtype, loaded.shape) == (dtype, shape)
    assert torch.equal(loaded, tensor)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.bool_(True),
        np.rec.array([(1, 2.0)]),
        np.ma.array([1.0]),
        Path("a"),
        collections.defaultdict(list),
        collections.Counter("a"),
        range(3),
        1j,
        bytearray(b"a"),
        torch.float32,
        slice(1),
        int,
        functools.reduce(lambda inner, _: [inner], range(100), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_loaded_is_refused_when_saved(tmp_path, value):
    """A stage must not end well on a file that the next stage refuses."""
    path = tmp_path / "x.pickle"
    try:
        artifacts.save(path, {"key": value})
    except TypeError:
        assert not path.exists()
        return
    loaded = artifacts.load(path)["key"]
    assert repr(loaded) == repr(value)


def test_a_non_contiguous_tensor_is_saved_like_its_contiguous_copy(tmp_path):
    tensor = torch.arange(12.0).reshape(3, 4).T
    assert not tensor.is_contiguous()
    assert artifacts.save(tmp_path / "a", tensor) == artifacts.save(tmp_path / "b", tensor.contiguous())
    assert torch.equal(artifacts.load(tmp_path / "a"), tensor)


def test_a_fortran_array_is_saved_like_its_c_copy(tmp_path):
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    assert artifacts.save(tmp_path / "a", array) == artifacts.save(tmp_path / "b", np.ascontiguousarray(array))
    np.testing.assert_array_equal(artifacts.load(tmp_path / "a"), array)


@pytest.mark.parametrize("make", [torch.arange, np.arange])
def test_a_slice_does_not_drag_its_storage_along(tmp_path, make):
    whole = make(100_000)
    artifacts.save(tmp_path / "slice", whole[:10])
    artifacts.save(tmp_path / "whole", whole)
    assert (tmp_path / "slice").stat().st_size < 1000
    assert (tmp_path / "whole").stat().st_size > 400_000


# --- the same bytes ----------------------------------------------------------------------------------------

SAVE_A_VALUE = """
    import sys
    import numpy as np, torch
    from linear_shortcuts.files import artifacts
    print(artifacts.save(sys.argv[1], {
        "train": ["a sentence", "a sentence", "another"],
        "card": {"seed": 0, "names": ("a", "b"), "none": None, "share": 0.1},
        "tensor": torch.arange(6.0).reshape(2, 3),
        "arrays": [np.arange(4), np.eye(2, dtype=np.float32), np.array(["x", "yy"])],
    }))
"""


def test_two_processes_with_different_hash_seeds_write_the_same_bytes(tmp_path):
    runs = [in_fresh_process(SAVE_A_VALUE, tmp_path / seed, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    first, second = ((tmp_path / seed).read_bytes() for seed in ("1", "2"))
    assert first == second
    assert runs[0].stdout.strip() == hashlib.sha256(first).hexdigest()
    # Positive control: the hash seed does change the order of a set, and with it the bytes of an ordinary pickle.
    print_set = "import pickle; print(pickle.dumps(set('abcdefgh')))"
    assert len({in_fresh_process(print_set, PYTHONHASHSEED=seed).stdout for seed in ("1", "2")}) == 2


def modules_called(path):
    """The packages that a plain unpickling of a file looks into."""
    found = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(module.partition(".")[0])
            return super().find_class(module, name)

    with path.open("rb") as file:
        Unpickler(file).load()
    return found


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 has another name in every array")
def test_the_bytes_are_what_they_always_were(tmp_path):
    """No stage names the module that writes them, so that an edit that changes them must show here."""
    value = {
        "name": "é",
        "rows": [1, -2, 300, 2.5, None, True],
        "tensor": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.ones(2, dtype=torch.float16),
        "array": np.arange(3, dtype=np.int64),
        ("key", 1): b"x",
    }
    sha256 = artifacts.save(tmp_path / "x.pickle", value)
    assert modules_called(tmp_path / "x.pickle") <= {
        "torch",
        "numpy",
        "builtins",
    }  # so it opens whatever our library is called
    assert sha256 == "d3fe156a75454ab701b223aa8e16ff98e59805ff4d6b27df87cdee5c5a5f5373"
    artifacts.save_json(tmp_path / "x.json", {"b": [1, 2.5, None], "a": "é"})
    expected = '{\n  "b": [\n    1,\n    2.5,\n    null\n  ],\n  "a": "é"\n}\n'
    assert (tmp_path / "x.json").read_bytes() == expected.encode()
    assert artifacts.fingerprint({"b": 1, "a": "é"}).startswith("aa58fba8483623bed37c1b02")


def test_bytes_do_not_depend_on_which_strings_are_the_same_object(tmp_path):
    shared = "a key"
    fresh = "".join(["a", " ", "key"])
    assert fresh == shared
    assert fresh is not shared
    one = [{shared: shared}, {shared: 1}]
    two = [{shared: fresh}, {fresh: 1}]
    assert pickle.dumps(one) != pickle.dumps(two)  # the positive control
    assert artifacts.save(tmp_path / "one", one) == artifacts.save(tmp_path / "two", two)


def test_bytes_do_not_depend_on_where_a_tensor_came_from(tmp_path):
    made = torch.arange(6.0).reshape(2, 3)
    artifacts.save(tmp_path / "file", made)
    torch.save(made, tmp_path / "torch")
    origins = {
        "made": made,
        "loaded": artifacts.load(tmp_path / "file"),
        "torch.load": torch.load(tmp_path / "torch"),
        "from numpy": torch.from_numpy(made.numpy().copy()),
        "slice": torch.arange(10.0)[:6].reshape(2, 3),
        "needs a gradient": made.clone().requires_grad_(),
    }
    digests = {origin: artifacts.save(tmp_path / "x", [tensor]) for origin, tensor in origins.items()}
    assert len(set(digests.values())) == 1, digests


def test_the_same_tensor_twice_is_saved_like_two_equal_ones(tmp_path):
    tensor = torch.arange(3.0)
    once = artifacts.save(tmp_path / "a", [tensor, tensor])
    assert once == artifacts.save(tmp_path / "b", [tensor, tensor.clone()])


@pytest.mark.parametrize(
    "value",
    [{"a", "b"}, frozenset({1}), [{"deep": ({"a"},)}], {frozenset({1}): 2}],
    ids=["set", "frozenset", "deep", "key"],
)
def test_a_set_is_refused_because_its_order_is_not_reproducible(tmp_path, value):
    with pytest.raises(TypeError, match="sorted list"):
        artifacts.save(tmp_path / "x", value)
    assert list(tmp_path.iterdir()) == []


def test_an_array_of_objects_is_refused(tmp_path):
    with pytest.raises(TypeError, match="save a list"):
        artifacts.save(tmp_path / "x", {"a": [np.array([1, "a"], dtype=object)]})
    assert list(tmp_path.iterdir()) == []


def test_json_is_written_in_the_given_order_and_read_back(tmp_path):
    artifacts.save_json(tmp_path / "x.json", {"b": 1, "a": "é"})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "é"\n}\n'
    assert artifacts.load_json(tmp_path / "x.json") == {"b": 1, "a": "é"}


def test_a_fingerprint_ignores_the_order_of_keys_and_nothing_else():
    assert artifacts.fingerprint({"a": 1, "b": [1, 2]}) == artifacts.fingerprint({"b": [1, 2], "a": 1})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": 1, "b": None}, [{"a": 1}]]
    assert len({artifacts.fingerprint(recipe) for recipe in different}) == len(different)


# --- whole or absent ---------------------------------------------------------------------------------------


# --- damaged and missing files -----------------------------------------------------------------------------

SEAL = len(b"\nsha256 ") + 64 + 1  # bytes that end a file


def refused(path, content: bytes) -> str:
    """What `load` says to a file with this content."""
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        artifacts.load(path)
    return str(caught.value)


@pytest.fixture(scope="module")
def whole(folder) -> bytes:
    """The bytes of a file that was saved here."""
    artifacts.save(folder / "whole.pickle", {"a": torch.arange(2.0), "b": [np.arange(2), "text"]})
    artifacts.load(folder / "whole.pickle")  # the positive control
    return (folder / "whole.pickle").read_bytes()


def test_a_file_cut_at_any_byte_is_refused(tmp_path, whole):
    for length in range(len(whole)):
        refused(tmp_path / "cut.pickle", whole[:length])


def test_a_file_cut_at_any_byte_and_changed_in_any_of_its_mark_is_refused(tmp_path, whole):
    for length, place in itertools.product(range(len(whole) - SEAL, len(whole)), range(22)):
        refused(tmp_path / "cut.pickle", whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 : length])


@settings(max_examples=500, deadline=None)
@given(
    cut=st.just(SEAL) | st.integers(0, 2 * SEAL),
    changes=st.dictionaries(st.integers(0, 21) | st.integers(0, 10**4), st.integers(1, 255), max_size=3),
    appended=st.sampled_from([b"", b"\n", b"\r\n", b"\0" * 512]) | st.binary(max_size=100),
)
def test_damage_of_any_kind_is_refused(folder, whole, cut, changes, appended):
    """Cut, changed in a few bytes, continued, or several of these at once."""
    damaged = bytearray(whole[: len(whole) - cut])
    for place, change in changes.items():
        damaged[place % len(damaged)] ^= change
    damaged += appended
    if damaged != whole:
        refused(folder / "damaged.pickle", bytes(damaged))


def test_line_ends_that_were_converted_are_refused(tmp_path, whole):
    for content in (whole.replace(b"\n", b"\r\n"), whole[:-1] + b"\r\n", whole + whole):
        assert "damaged" in refused(tmp_path / "x", content)


def test_a_file_of_before_there_was_a_mark_is_loaded_and_its_seal_checked(tmp_path):
    old = pickle.dumps([1, 2], 4)
    sealed = old + b"\nsha256 " + hashlib.sha256(old).hexdigest().encode() + b"\n"
    (tmp_path / "x").write_bytes(sealed)
    assert artifacts.load(tmp_path / "x") == [1, 2]
    for place in range(len(sealed)):
        refused(tmp_path / "x", sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])


def test_a_file_says_itself_when_a_byte_of_it_has_changed(tmp_path, whole):
    """Without a card beside it: every byte, each flipped in one bit."""
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        assert "damaged" in refused(tmp_path / "changed.pickle", bytes(changed))


def test_a_plain_pickle_load_does_not_see_the_checksum(tmp_path):
    artifacts.save(tmp_path / "x.pickle", 3)
    with open(tmp_path / "x.pickle", "rb") as file:
        assert pickle.load(file) == 3
        contents = b"\x80\x04\x8c\x10linear_shortcuts0" + pickle.dumps(3, 4)
        assert file.read() == b"\nsha256 " + hashlib.sha256(contents).hexdigest().encode() + b"\n"


def test_other_bytes_than_were_written_are_refused(tmp_path):
    path = tmp_path / "x.pickle"
    sha256 = artifacts.save(path, [1, 2])
    assert artifacts.load(path, sha256=sha256) == [1, 2]
    artifacts.save(path, [1, 3])
    with pytest.raises(InputError, match=f"{re.escape(str(path))} is damaged"):
        artifacts.load(path, sha256=sha256)


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path):
    for load in (artifacts.load, artifacts.load_json):
        with pytest.raises(InputError, match=r"x\.pickle does not exist; run stages/01_fetch_sentences\.py first"):
            load(tmp_path / "x.pickle", made_by="stages/01_fetch_sentences.py")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    for load in (artifacts.load, artifacts.load_json):
        with pytest.raises(InputError, match=re.escape(str(tmp_path))):
            load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1,]", b"[" * 10**6])
def test_damaged_json_is_refused(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(InputError, match=r"card\.json is not valid JSON"):
        artifacts.load_json(tmp_path / "card.json")


@pytest.mark.parametrize("value", [{}, [1], None, {"card": 1}])
def test_a_file_of_another_layout_is_named_with_what_it_lacks(tmp_path, value):
    artifacts.save(tmp_path / "x", value)
    with pytest.raises(InputError, match=r"x lacks .*records; run stages/08 again"):
        artifacts.load_mapping(tmp_path / "x", "card", "records", made_by="stages/08")
