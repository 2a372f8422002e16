"""Files between the stages: the same bytes for the same value, whole or absent, nothing called at their command."""

import collections
import contextlib
import functools
import hashlib
import io
import itertools
import operator
import os
import pickle
import pickletools
import re
import shutil
import subprocess
import sys
import textwrap
import timeit
import types
import zipfile
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shortcuts import artifacts
from shortcuts.errors import InputError

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
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
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


def in_fresh_process(code: str, *arguments, **environment) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


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
    from shortcuts import artifacts
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


def write_half(path: Path, error: type[BaseException]) -> None:
    with artifacts.atomic_file(path) as file:
        file.write(b"half of a fi")
        file.flush()
        raise error


def test_an_exception_in_the_middle_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path):
    path = tmp_path / "x.pickle"
    artifacts.save(path, "old")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError)
    with pytest.raises(TypeError):
        artifacts.save(path, ["a" * 100_000, np.array([None])])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_in_the_middle_leaves_no_file_where_none_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "new" / "x", KeyboardInterrupt)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_final_name_appears_only_when_the_file_is_complete(tmp_path):
    with artifacts.atomic_file(tmp_path / "x") as file:
        file.write(b"first half, ")
        file.flush()
        assert not (tmp_path / "x").exists()
        file.write(b"second half")
    assert (tmp_path / "x").read_bytes() == b"first half, second half"


def test_an_artifact_has_the_permissions_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    artifacts.save(tmp_path / "artifact", 1)
    assert (tmp_path / "artifact").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


# --- files from elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [torch.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))],
    ids=["tensor", "array", "fortran array"],
)
def test_a_plain_pickle_of_any_protocol_loads(tmp_path, value, protocol):
    (tmp_path / "x").write_bytes(pickle.dumps({"key": [value]}, protocol=protocol))
    loaded = artifacts.load(tmp_path / "x")["key"][0]
    assert type(loaded) is type(value)
    assert loaded.dtype == value.dtype
    np.testing.assert_array_equal(loaded, value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_torch_save_file_loads(tmp_path, zipped):
    value = {"weight": torch.arange(6.0).reshape(2, 3), "steps": [1, 2]}
    torch.save(value, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    assert same(artifacts.load(tmp_path / "x"), value)


def test_a_slice_pickled_elsewhere_loads_with_its_own_values(tmp_path):
    part = torch.arange(10.0).reshape(5, 2)[1:4, 1]
    (tmp_path / "x").write_bytes(pickle.dumps(part))
    assert torch.equal(artifacts.load(tmp_path / "x"), torch.tensor([3.0, 5.0, 7.0]))


def test_a_pickle_that_contains_the_mark_of_a_zip_file_is_still_a_pickle(tmp_path):
    """Four bytes of a float matrix can be those that end a zip file, once in some 65,000 files of full size."""
    array = np.zeros(50, dtype="<u4")
    array[0] = 0x06054B50
    artifacts.save(tmp_path / "x", array)
    assert zipfile.is_zipfile(tmp_path / "x")  # the positive control: it does look like one
    np.testing.assert_array_equal(artifacts.load(tmp_path / "x"), array)


# --- hostile files -----------------------------------------------------------------------------------------


class Call:
    """Pickles as a call of `function`, as every attack does."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def refer(module: str, name: str) -> bytes:
    """The opcode that puts a global on the stack."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def torch_saved(value, *, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def poisons(canary: Path) -> dict[str, bytes]:
    """Pickles that create the file `canary` when an ordinary `pickle.load` reads them."""
    shell, python = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    system = Call(os.system, shell)
    plain = pickle.dumps(system)
    nested = canary.with_name("nested.pickle")
    nested.write_bytes(plain)
    calls = {
        "os.system": system,
        "subprocess.call": Call(subprocess.call, ["touch", str(canary)]),
        "subprocess.check_output": Call(subprocess.check_output, ["touch", str(canary)]),
        "eval": Call(eval, python),
        "exec": Call(exec, python),
        "open": Call(open, str(canary), "w"),
        "Path.touch": Call(Path.touch, canary),
        "shutil.copyfile": Call(shutil.copyfile, __file__, str(canary)),
        "timeit": Call(timeit.timeit, python, "pass", timeit.default_timer, 1),
        "functools.partial": Call(functools.partial(os.system, shell)),
        "operator.methodcaller": Call(operator.methodcaller("touch"), canary),
        "pickle.loads": Call(pickle.loads, plain),
        "torch.load": Call(functools.partial(torch.load, str(nested), weights_only=False)),
        "storage of a tensor, legacy": Call(torch.storage._load_from_bytes, torch_saved(system, zipped=False)),
        "storage of a tensor, zip": Call(torch.storage._load_from_bytes, torch_saved(system, zipped=True)),
        "deep inside containers": {"weights": [torch.ones(2), ({"x": system},)]},
        "key of a mapping": {(1, system): 1},
        "items of an OrderedDict": Call(collections.OrderedDict, [("a", system)]),
        "argument of from_numpy": Call(torch.from_numpy, system),
        "argument of dtype": Call(np.dtype, system),
    }
    # getattr(__import__("os"), "system")(shell), call by call
    imported = refer("builtins", "__import__") + text("os") + b"\x85R"
    got = refer("builtins", "getattr") + imported + text("system") + b"\x86R"
    return {
        **{name: pickle.dumps(call, protocol=4) for name, call in calls.items()},
        "getattr chain": b"\x80\x02" + got + text(shell) + b"\x85R.",
        "INST opcode": f"(S{shell!r}\nios\nsystem\n.".encode(),
        "OBJ opcode": b"\x80\x02(" + refer("os", "system") + text(shell) + b"o.",
        "NEWOBJ opcode": b"\x80\x02" + refer("tests_poison", "Made") + text(shell) + b"\x85\x81.",
    }


POISONS = [
    "os.system",
    "subprocess.call",
    "subprocess.check_output",
    "eval",
    "exec",
    "open",
    "Path.touch",
    "shutil.copyfile",
    "timeit",
    "functools.partial",
    "operator.methodcaller",
    "pickle.loads",
    "torch.load",
    "storage of a tensor, legacy",
    "storage of a tensor, zip",
    "deep inside containers",
    "key of a mapping",
    "items of an OrderedDict",
    "argument of from_numpy",
    "argument of dtype",
    "getattr chain",
    "INST opcode",
    "OBJ opcode",
    "NEWOBJ opcode",
]


class Made:
    """A class whose mere construction does harm, for the NEWOBJ opcode."""

    def __new__(cls, command):
        os.system(command)
        return super().__new__(cls)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that exists only after somebody ran what a pickle asked for."""
    module = types.ModuleType("tests_poison")
    module.Made = Made
    monkeypatch.setitem(sys.modules, "tests_poison", module)
    return tmp_path / "canary"


@pytest.mark.parametrize("name", POISONS)
def test_a_pickle_that_calls_something_is_refused_and_nothing_is_called(tmp_path, canary, name):
    path = tmp_path / "poison.pickle"
    path.write_bytes(poisons(canary)[name])
    with pytest.raises(InputError, match=re.escape(str(path))):
        artifacts.load(path)
    assert not canary.exists()
    # The positive control: the poison works.
    with contextlib.suppress(TypeError, RuntimeError), open(path, "rb") as file:
        pickle.load(file)  # what comes after the call may fail
    assert canary.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_torch_save_file_that_calls_something_is_refused_by_name(tmp_path, canary, zipped):
    path = tmp_path / "poison.pt"
    path.write_bytes(torch_saved({"weight": Call(os.system, f"touch {canary}")}, zipped=zipped))
    with pytest.raises(InputError) as caught:
        artifacts.load(path)
    assert not canary.exists()
    assert str(path) in str(caught.value)
    assert f"{os.system.__module__}.system" in str(caught.value)
    assert "weights_only" not in str(caught.value), "no advice to switch the protection off"
    assert "\033" not in str(caught.value)
    torch.load(path, weights_only=False)  # the positive control
    assert canary.exists()


def refused(path: Path, content: bytes) -> str:
    """What `load` says to a file with this content."""
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        artifacts.load(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        torch.nn.Linear(1, 1),
        Path("a"),
        collections.Counter("a"),
        np.random.default_rng(),
    ],
    ids=["module", "path", "counter", "generator"],
)
def test_the_forbidden_global_is_named(tmp_path, value):
    content = pickle.dumps(value, protocol=4)
    message = refused(tmp_path / "x", content)
    assert any(name in message for name in pickle_globals(content)), message


def pickle_globals(content: bytes) -> list[str]:
    """The `module.name` of every STACK_GLOBAL whose two strings stand right before it."""
    strings, found = [], []
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("UNICODE"):
            strings.append(argument)
        elif opcode.name == "STACK_GLOBAL":
            found.append(".".join(strings[-2:]))
    return found


SHAPE = b"\x8a\x05\x00\x00\x00\x00\x01\x85"  # the tuple (2**32,)
UNUSUAL = {
    "ndarray called with a shape": refer("numpy", "ndarray") + b"M\xe8\x03\x85\x85R",
    "ndarray made with a shape": refer("numpy", "ndarray") + b"M\xe8\x03\x85\x85\x81",
    "ndarray called with a huge shape": refer("numpy", "ndarray") + SHAPE + b"\x85R",
    "array rebuilt with a huge shape": (
        refer("numpy.core.multiarray", "_reconstruct") + refer("numpy", "ndarray") + SHAPE + b"C\x01b\x87R"
    ),
    "another class rebuilt as an array": (
        refer("numpy._core.multiarray", "_reconstruct") + refer("numpy", "dtype") + b"K\x00\x85C\x01b\x87R"
    ),
    "getattr of another name": (
        refer("builtins", "getattr") + refer("torch._C", "_VariableFunctionsClass") + text("load") + b"\x86R"
    ),
    "getattr of another object": (
        refer("builtins", "getattr") + refer("collections", "OrderedDict") + text("from_numpy") + b"\x86R"
    ),
    "getattr of a dunder": (
        refer("builtins", "getattr") + refer("torch._C", "_VariableFunctionsClass") + text("__class__") + b"\x86R"
    ),
    "encoding other than that of bytes": refer("_codecs", "encode") + text("a") + text("rot13") + b"\x86R",
    "persistent id": b"Pabc\n",
    "extension code": b"\x82\x01",
    "storage that is no bytes": refer("torch.storage", "_load_from_bytes") + text("abc") + b"\x85R",
    "empty stack": b"R",
    "unhashable key": b"}]K\x01s",
    "memo that was never set": b"h\x05",
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_pickle_that_rebuilds_things_in_an_unusual_way_is_refused(tmp_path, name):
    refused(tmp_path / "x", b"\x80\x03" + UNUSUAL[name] + b".")


def test_a_pickle_cannot_change_the_functions_it_may_call(tmp_path):
    """The BUILD opcode sets attributes; set on a function, they would outlive the file."""
    functions = [
        refer("numpy._core.multiarray", "_reconstruct"),
        refer("torch._utils", "_rebuild_tensor_v2"),
        refer("torch.storage", "_load_from_bytes"),
        refer("builtins", "getattr"),
    ]
    builds = [b"N}" + text("__defaults__") + b"K\x07\x85s\x86b", b"}" + text("mark") + b"K\x07sb"]
    for number, (function, build) in enumerate(itertools.product(functions, builds)):
        (tmp_path / f"{number}.pickle").write_bytes(b"\x80\x03" + function + build + b".")
    run = in_fresh_process(  # which is ruined where the test fails
        """
        import sys, contextlib, types, torch._utils
        from pathlib import Path
        from shortcuts import artifacts
        from shortcuts.errors import InputError
        homes = [vars(module).items() for module in (artifacts, torch._utils, torch.storage)]
        functions = {name: f for home in homes for name, f in home if isinstance(f, types.FunctionType)}
        before = {name: (f.__defaults__, dict(vars(f))) for name, f in functions.items()}
        for path in Path(sys.argv[1]).iterdir():
            with contextlib.suppress(InputError):
                artifacts.load(path)
        changed = [name for name, f in functions.items() if (f.__defaults__, vars(f)) != before[name]]
        print(len(before) > 20, changed)
        """,
        tmp_path,
    )
    assert run.stdout.strip() == "True []", run.stdout + run.stderr


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    """It would show whatever the memory held before."""
    storage = torch.arange(3.0).untyped_storage()
    for size, stride, offset in [((1000,), (1,), 0), ((3,), (2,), 0), ((3,), (1,), 1), ((2**42,), (1,), 0)]:
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
        rebuilt = Call(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, collections.OrderedDict())
        refused(tmp_path / "x", pickle.dumps(rebuilt))


def array_of(dtype, shape, data) -> Call:
    """An array with a state of one's own choice."""
    state = (1, shape, dtype, False, data)
    reconstruct = np.zeros(0).__reduce__()[0]  # which moved to another module with NumPy 2
    return Call(reconstruct, np.ndarray, (0,), b"b", state=state)


def test_an_array_field_outside_its_item_is_refused(tmp_path):
    """It would show whatever the memory holds a thousand bytes further on."""
    fields = {"a": (np.dtype("f8"), 1000)}
    dtype = Call(np.dtype, "V4", False, True, state=(3, "|", None, ("a",), fields, 4, 1, 0))
    refused(tmp_path / "x", pickle.dumps(array_of(dtype, (1,), b"abcd")))


def test_arrays_with_impossible_states_do_not_crash_the_process(tmp_path):
    """In a process of its own, because what is tested is whether it survives."""
    states = [
        array_of(np.dtype("O"), (10**6,), [1]),
        array_of(np.dtype("O"), (3,), []),
        array_of(np.dtype("f8"), (10**6,), b"abc"),
        array_of(np.dtype("f8"), (-1,), b""),
        array_of(np.dtype("f8"), (2**62, 4), b""),
        array_of(np.dtype("f8"), (1,), [1]),
        array_of(Call(np.dtype, "S4", False, True, state=(3, "|", None, None, None, -8, 1, 0)), (1,), b"abcd"),
        array_of(Call(np.dtype, "S4", False, True, state=(3, "|", None, None, None, 2**30, 1, 0)), (1,), b"abcd"),
        array_of(Call(np.dtype, "V4", False, True, state=(3, "|", None, None, None, 0, 1, 0)), (4,), b"abcd"),
        array_of(Call(np.dtype, "V4", False, True, state=(3, "|", None, ("a",), None, 4, 1, 0)), (1,), b"abcd"),
        array_of(Call(np.dtype, "O", False, True, state=(3, "|", None, None, None, -1, -1, 0)), (1,), b"abcdefgh"),
    ]
    for number, state in enumerate(states):
        (tmp_path / f"{number:02}.pickle").write_bytes(pickle.dumps(state, protocol=4))
    run = in_fresh_process(LOAD_ALL, tmp_path)
    assert run.returncode == 0, f"ended with {run.returncode} after:\n{run.stdout}{run.stderr}"
    assert run.stdout.split() == ["refused"] * len(states), run.stdout


LOAD_ALL = """
    import sys
    from pathlib import Path
    from shortcuts import artifacts
    from shortcuts.errors import InputError
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            repr(artifacts.load(path))
            print("loaded", flush=True)
        except InputError:
            print("refused", flush=True)
"""


def test_one_flipped_bit_never_raises_anything_but_an_input_error(tmp_path):
    """In a process of its own: a flipped bit can also make a dtype or a shape that numpy trips over."""
    artifacts.save(tmp_path / "whole.pickle", {"a": [np.arange(3), torch.ones(2)], "b": ("text", 1.5, None)})
    run = in_fresh_process(
        """
        import sys
        from pathlib import Path
        from shortcuts import artifacts
        from shortcuts.errors import InputError
        whole, flipped = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
        counts = {"loaded": 0, "refused": 0}
        for bit in range(0, 8 * len(whole), 3):  # every byte, and in turn every bit of one
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            flipped.write_bytes(changed)
            try:
                artifacts.load(flipped)
                counts["loaded"] += 1
            except InputError:
                counts["refused"] += 1
            except Exception as error:
                print("bit", bit, repr(error))
        print(counts)
        """,
        tmp_path / "whole.pickle",
        tmp_path / "flipped.pickle",
    )
    assert run.returncode == 0, f"ended with {run.returncode}: {run.stdout}{run.stderr}"
    assert run.stdout.count("\n") == 1, run.stdout
    assert "'refused': 0" not in run.stdout


# --- damaged and missing files -----------------------------------------------------------------------------

SEAL = len(b"\nsha256 ") + 64 + 1  # bytes that end a file
SMALL = {
    "saved": None,
    "pickled tensor": pickle.dumps(torch.arange(2.0)),
    "torch.save": torch_saved(torch.arange(2.0), zipped=True),
    "torch.save, legacy": torch_saved(torch.arange(2.0), zipped=False),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", SMALL)
def test_a_file_cut_at_any_byte_is_refused(tmp_path, kind):
    path = tmp_path / "whole.pickle"
    if SMALL[kind] is None:
        artifacts.save(path, {"a": torch.arange(2.0), "b": [np.arange(2), "text"]})
    else:
        path.write_bytes(SMALL[kind])
    artifacts.load(path)  # the positive control
    whole = path.read_bytes()
    step = 7 if kind == "torch.save" else 1  # a zip file is long, and slow to refuse
    mark = range(len(whole) - SEAL, len(whole) - 64 - 1) if kind == "saved" else range(0)
    for length in set(range(0, len(whole), step)) - set(mark):
        refused(tmp_path / "cut.pickle", whole[:length])
    for length in mark:  # of the mark before the checksum: the pickle is whole, as one from elsewhere is
        (tmp_path / "cut.pickle").write_bytes(whole[:length])
        assert same(artifacts.load(tmp_path / "cut.pickle"), artifacts.load(path))


def test_a_file_says_itself_when_a_byte_of_it_has_changed(tmp_path):
    """Without a card beside it: every byte but those of the mark itself, each flipped in one bit."""
    path = tmp_path / "whole.pickle"
    artifacts.save(path, {"a": torch.arange(2.0), "b": [np.arange(2), "text"]})
    whole = path.read_bytes()
    value = artifacts.load(path)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        if len(whole) - SEAL <= place < len(whole) - 64 - 1:
            (tmp_path / "changed.pickle").write_bytes(changed)
            assert same(artifacts.load(tmp_path / "changed.pickle"), value)
        else:
            assert "damaged" in refused(tmp_path / "changed.pickle", bytes(changed))


def test_a_plain_pickle_load_does_not_see_the_checksum(tmp_path):
    artifacts.save(tmp_path / "x.pickle", 3)
    with open(tmp_path / "x.pickle", "rb") as file:
        assert pickle.load(file) == 3
        assert file.read() == b"\nsha256 " + hashlib.sha256(pickle.dumps(3, 4)).hexdigest().encode() + b"\n"


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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1,]"])
def test_damaged_json_is_refused(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(InputError, match=r"card\.json is not valid JSON"):
        artifacts.load_json(tmp_path / "card.json")
