"""Pickles from elsewhere: what tensors and plain containers need is loaded, everything else refused, unrun."""

import collections
import contextlib
import functools
import io
import itertools
import json
import operator
import os
import pickle
import pickletools
import re
import shutil
import struct
import subprocess
import sys
import timeit
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fresh_process import in_fresh_process
from hypothesis import given, settings, strategies as st

from linear_shortcuts.files import artifacts, torch_files
from linear_shortcuts.files.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("pickles")


# --- files from elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
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


def torch_values() -> dict[str, object]:
    base = torch.arange(12.0).reshape(3, 4)
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)
    return {
        "matrix": base,
        "in containers": {"weight": base, "steps": [1, (2, None)], 3: 4.5},
        "two views of one storage": [base[1:, ::2], base.T],
        "without numbers": [torch.empty(0), torch.empty(3, 0), torch.tensor(2.5)],
        "dtypes": [torch.tensor([1, 0, 1]).to(kind) for kind in kinds],
        "state_dict": module.state_dict(),
        "parameter": module[0].weight,
        "shape": base.shape,
    }


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", torch_values())
def test_what_torch_writes_loads_as_torch_loads_it(tmp_path, name, way):
    value = torch_values()[name]
    if way == "pickle":
        (tmp_path / "x").write_bytes(pickle.dumps(value))
        expected = value
    else:
        torch.save(value, tmp_path / "x", _use_new_zipfile_serialization=way == "zip")
        expected = torch.load(tmp_path / "x", weights_only=True)
    loaded = artifacts.load(tmp_path / "x")
    torch.testing.assert_close(loaded, expected, rtol=0, atol=0)
    if name == "state_dict":
        assert loaded._metadata == expected._metadata
    if name == "parameter":
        assert loaded.requires_grad
        assert type(loaded) is torch.nn.Parameter


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


def put(number: int) -> bytes:
    return b"q" + bytes([number])


def get(number: int) -> bytes:
    return b"h" + bytes([number])


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + len(data).to_bytes(4, "little") + data


def blob(data: bytes) -> bytes:
    return b"B" + len(data).to_bytes(4, "little") + data


def again(times: int, prepare: bytes, call: bytes) -> bytes:
    """A list of what the same call gives, again and again, of the same arguments."""
    return prepare + b"0](" + call * times + b"e"


def zip_of(entries: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


FLOAT_STORAGE = text("storage") + refer("torch", "FloatStorage")
ORDERED_DICT = refer("collections", "OrderedDict")


def torch_zip(program: bytes, data: bytes = bytes(12), compression=zipfile.ZIP_STORED) -> bytes:
    """A file of torch.save whose pickle may use the storage "0", ready on the stack and in memo 0."""
    storage = b"(" + FLOAT_STORAGE + text("0") + text("cpu") + b"K\x03tQ" + put(0)
    return zip_of({"data.pkl": b"\x80\x02" + storage + program + b".", "data/0": data}, compression)


def torch_legacy(count: bytes, program: bytes = b"", stored: int = 0) -> bytes:
    """A file of torch.save before PyTorch 1.6 that says it holds `count` numbers, in memo 0, and then that it does."""
    storage = b"(" + FLOAT_STORAGE + text("0") + text("cpu") + count + b"NtQ" + put(0)
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    end = pickle.dumps(["0"], 2) + struct.pack("<q", stored)
    return b"".join(parts) + b"\x80\x02" + storage + program + b"." + end


def array(extents: bytes, dtype: bytes = b"", data: bytes = b"C\x00") -> bytes:
    return RECONSTRUCT + b"(K\x01(" + extents + b"t" + (dtype or SWAPPED) + b"\x89" + data + b"tb"


def scalar(dtype: bytes, data: bytes) -> bytes:
    return refer("numpy._core.multiarray", "scalar") + dtype + data + b"\x86R"


def dtype(code: str, state: bytes = b"") -> bytes:
    """A dtype; with the last three entries of its state (item size, alignment, flags) also changed."""
    order = b"(K\x03" + text("|" if code[0] in "SV" else "<") + b"NNN"
    return refer("numpy", "dtype") + text(code) + b"\x85R" + (order + state + b"tb" if state else b"")


def tensor(size: bytes, stride: bytes) -> bytes:
    """A tensor of the storage in memo 0."""
    return TENSOR + b"(" + get(0) + b"K\x00" + size + stride + b"\x89)tR"


BIG = 20_000
ENCODE = refer("_codecs", "encode") + put(0) + b"0" + text("x" * BIG) + put(1) + b"0" + text("latin1") + put(2)
RECONSTRUCT = refer("numpy._core.multiarray", "_reconstruct") + refer("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
SWAPPED = (
    refer("numpy", "dtype") + text("f8") + b"\x85R(K\x03" + text(">") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
SCALAR = (
    refer("numpy._core.multiarray", "scalar") + put(0) + b"0" + refer("numpy", "dtype") + text(f"S{BIG}") + b"\x85R"
)
BYTES = blob(bytes(BIG))
TENSOR = refer("torch._utils", "_rebuild_tensor_v2")
PAYLOAD = torch_saved(torch.zeros(BIG // 4), zipped=False)
NESTED_KEY = b")" + b"\x85" * 500_000  # a tuple in a tuple in a tuple
DOUBLED_KEY = b")" + b"2\x86" * 100  # each holds the one before it twice: 2^100 to hash
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
    "array filled twice": (
        array(b"K\x02", dtype("f8"), blob(bytes(16)))
        + b"(K\x01K\x01\x85"
        + dtype("f8")
        + b"\x89"
        + blob(bytes(8))
        + b"tb"
    ),
    "text of negative size": scalar(dtype("S4", b"J\xff\xff\xff\xffK\x01K\x00"), blob(b"abcd")),
    "dtype changed in use": (
        dtype("S4")
        + put(3)
        + array(b"K\x01", get(3), blob(b"abcd"))
        + put(4)
        + get(3)
        + b"(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffK\x01K\x00tb0"
        + get(4)
    ),
    "text without alignment": array(b"K\x01", dtype("S4", b"K\x04K\x00K\x00"), blob(b"abcd")),
    "numbers that claim to be objects": array(b"K\x01", dtype("f8", b"K\x08K\x08K\x3f"), blob(bytes(8))),
    "code point that does not exist": scalar(dtype("U1"), blob(b"\xff" * 4)),
    "bytearray that an array looks at": (
        b"\x96"
        + struct.pack("<Q", 8)
        + bytes(8)
        + put(0)
        + refer("numpy._core.numeric", "_frombuffer")
        + b"("
        + get(0)
        + dtype("f8")
        + b"K\x01\x85"
        + text("C")
        + b"tR"
        + put(1)
        + b"0"
        + get(0)
        + b"K\x01a"
    ),
    "function as a value": b"]" + refer("builtins", "getattr") + b"a",
    "bare storage": refer("torch", "FloatStorage"),
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
        from linear_shortcuts.files import artifacts
        from linear_shortcuts.files.errors import InputError
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
    from linear_shortcuts.files import artifacts
    from linear_shortcuts.files.errors import InputError
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            repr(artifacts.load(path))
            print("loaded", flush=True)
        except InputError:
            print("refused", flush=True)
"""


def test_one_flipped_bit_never_raises_anything_but_an_input_error(tmp_path):
    """In a process of its own: a flipped bit can also make a dtype or a shape that numpy trips over."""
    value = {"a": [np.arange(3), torch.ones(2)], "b": ("text", 1.5, None)}
    (tmp_path / "whole.pickle").write_bytes(pickle.dumps(value))  # of another's making: no checksum guards it
    run = in_fresh_process(
        """
        import sys
        from pathlib import Path
        from linear_shortcuts.files import artifacts
        from linear_shortcuts.files.errors import InputError
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


# --- files that ask for much -------------------------------------------------------------------------------


GREEDY = {
    "long bytes": b"\x8e" + (2**40).to_bytes(8, "little") + b"abc",
    "long bytes of four": b"B" + (2**31 - 1).to_bytes(4, "little") + b"abc",
    "long text": b"\x8d" + (2**40).to_bytes(8, "little") + b"abc",
    "long bytearray": b"\x96" + (2**35).to_bytes(8, "little") + b"abc",
    "long number": b"\x8b" + (2**31 - 1).to_bytes(4, "little") + b"abc",
    "negative length": b"\x8b" + (-5).to_bytes(4, "little", signed=True) + b"abc",
    "long frame": b"\x95" + (2**40).to_bytes(8, "little") + b"abc",
    "many digits": b"I" + b"9" * 10**6 + b"\n",
    "a text encoded again and again": again(BIG, ENCODE, get(0) + get(1) + get(2) + b"\x86R"),
    "a scalar copied again and again": again(
        BIG, SCALAR + put(1) + b"0" + BYTES + put(2), get(0) + get(1) + get(2) + b"\x86R"
    ),
    "an array swapped again and again": again(
        5_000, SWAPPED + put(1) + b"0" + BYTES + put(2),
        RECONSTRUCT + b"(K\x01" + b"M" + (BIG // 8).to_bytes(2, "little") + b"\x85" + get(1) + b"\x89" + get(2) + b"tb",
    ),
    "a storage loaded again and again": again(
        BIG,
        refer("torch.storage", "_load_from_bytes") + put(0) + b"0" + blob(PAYLOAD) + put(1),
        get(0) + get(1) + b"\x85R",
    ),
    "an array of huge extents": array(number(2**400_000) + b"2" * 2000),
    "an array of 100,000 dimensions": array(b"K\x01" * 10**5),
    "a key nested too deep to hash": b"}" + NESTED_KEY + b"Ns",
    "keys nested too deep to hash": b"}(" + NESTED_KEY + b"Nu",
    "a key too branched to hash": b"}" + DOUBLED_KEY + b"Ns",
    "an OrderedDict with a key too branched": ORDERED_DICT + b"](" + DOUBLED_KEY + b"N\x86e\x85R",
    "items set on an array": RECONSTRUCT + b"K\x00K\x01s",
    "a storage of 2^40 numbers": torch_legacy(number(2**40)),
    "a storage of huge size": torch_legacy(number(2**400_000)),
    "a storage of negative size": torch_legacy(number(-1)),
    "a zip that unpacks to 200 MB": torch_zip(b"", bytes(2 * 10**8), zipfile.ZIP_DEFLATED),
    "a storage key too branched": zip_of(
        {"data.pkl": b"\x80\x02(" + FLOAT_STORAGE + DOUBLED_KEY + text("cpu") + b"K\x03tQ."}
    ),
    "a tensor larger than its storage": torch_zip(tensor(SHAPE, b"K\x01\x85")),
    "tensors of 10,000 dimensions": torch_zip(
        b"0(" + b"K\x01" * 10_000 + b"t" + put(1)
        + again(10_000, b"", tensor(get(1), get(1)))
    ),
    "bytes in an array of one row, loaded again and again": again(
        1000,
        array(b"K\x01" + number(BIG * 10 + 10), dtype("u1"), blob(b"\x80\x04" + blob(bytes(BIG * 10)) + b"0N."))
        + put(0) + b"0" + refer("torch.storage", "_load_from_bytes") + put(1),
        get(1) + get(0) + b"\x85R",
    ),
    "a storage whose size is an array": torch_legacy(
        array(b"K\x01", dtype("f8"), blob(struct.pack("<d", -1e18))),
        again(BIG, ENCODE, get(0) + get(1) + get(2) + b"\x86R"),
    ),
    "a tensor of four exabytes in twelve bytes": torch_zip(
        tensor(number(2**31) + number(2**31) + b"\x86", b"K\x00K\x00\x86")
    ),
    "a tensor as the arguments of a call": torch_zip(
        refer("torch", "Size") + tensor(number(2_000_000) + b"\x85", b"K\x00\x85") + b"R"
    ),
    "40,000 keys with the same hash": (
        b"}(" + b"".join(number(k * (2**61 - 1)) + b"N" for k in range(1, 40_000)) + b"u"
    ),
    "a bytearray made by a call": torch_zip(refer("builtins", "bytearray") + number(2**36) + b"\x85R"),
}  # fmt: skip


def test_the_files_made_here_load_where_they_ask_for_what_they_hold(tmp_path):
    """The positive control of the table above: the files are well-formed."""
    (tmp_path / "x").write_bytes(torch_zip(tensor(b"K\x03\x85", b"K\x01\x85")))
    assert torch.equal(artifacts.load(tmp_path / "x"), torch.zeros(3))
    zeros = tensor(b"K\x03\x85", b"K\x01\x85")
    (tmp_path / "x").write_bytes(torch_legacy(number(3), zeros, 3) + bytes(12))
    assert torch.equal(artifacts.load(tmp_path / "x"), torch.zeros(3))
    for once in (again(1, ENCODE, get(0) + get(1) + get(2) + b"\x86R"), array(b"K\x00")):
        (tmp_path / "x").write_bytes(b"\x80\x04" + once + b".")
        assert len(artifacts.load(tmp_path / "x")) in (0, 1)


# Not getrusage: what it calls the peak of a new process is no less than that of the one that started it.
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak memory from")


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    """What a process with little memory and time says to each of the files."""
    folder = tmp_path_factory.mktemp("greedy")
    for name, content in GREEDY.items():
        ours = content if content[:2] in (b"PK", b"\x80\x02") else b"\x80\x04" + content + b"."
        (folder / f"{name}.pickle").write_bytes(ours)
    run = in_fresh_process(
        r"""
        import json, re, signal, sys
        from pathlib import Path
        import torch
        from linear_shortcuts.files import artifacts
        from linear_shortcuts.files.errors import InputError
        peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**10
        for path in Path(sys.argv[1]).iterdir():
            before = peak()
            signal.alarm(10)
            try:
                artifacts.load(path)
                said = "loaded"
            except InputError as error:
                said = str(error)
            print(json.dumps([path.stem, said, peak() - before]), flush=True)
        """,
        folder,
    )
    assert run.returncode == 0, run.stdout[-500:] + run.stderr[-500:]
    return {name: (said, grown) for name, said, grown in map(json.loads, run.stdout.splitlines())}


@needs_proc
@pytest.mark.parametrize("name", GREEDY)
def test_a_file_that_asks_for_more_than_it_holds_is_refused_in_time_without_the_memory(greedy, name):
    said, grown = greedy[name]
    assert re.fullmatch(r".*\.pickle is not a whole, well-formed pickle \(.*\); make it anew", said) or (
        "refers to" in said and "bytearray" in name
    )
    assert len(said) < 500
    assert grown < 50, f"{grown:.0f} MiB more"


DENSE = {
    "lists": b"]",
    "mappings": b"}",
    "memoised lists": b"]\x94",
    "ordered mappings": b"h\x00)R",
    "arrays": b"h\x00h\x01h\x02h\x03\x87R",
    "arrays of 8 dimensions": b"h\x00h\x01R",
}


@needs_proc
def test_memory_is_bounded_by_the_size_of_the_file(tmp_path):
    """The codes that make the most of a byte, a million bytes of each."""
    prepare = {
        "ordered mappings": ORDERED_DICT + put(0) + b"0",
        "arrays": refer("numpy._core.multiarray", "_reconstruct") + put(0) + b"0" + refer("numpy", "ndarray") + put(1)
        + b"0K\x00\x85" + put(2) + b"0C\x01b" + put(3) + b"0",
        "arrays of 8 dimensions": refer("numpy._core.numeric", "_frombuffer") + put(0) + b"0(C\x01a" + dtype("u1")
        + b"(" + b"K\x01" * 8 + b"t" + text("C") + b"t" + put(1) + b"0",
    }  # fmt: skip
    for name, code in DENSE.items():
        body = prepare.get(name, b"") + b"](" + code * (10**6 // len(code)) + b"e."
        (tmp_path / f"{name}.pickle").write_bytes(b"\x80\x04" + body)
        run = in_fresh_process(
            r"""
            import re, sys, torch
            from pathlib import Path
            from linear_shortcuts.files import artifacts
            peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
            before = peak()
            value = artifacts.load(sys.argv[1])
            print(len(value), peak() - before)
            """,
            tmp_path / f"{name}.pickle",
        )
        made, grown = map(int, run.stdout.split())
        assert made == 10**6 // len(code)
        assert grown < 250 * 10**6, f"{name}: {grown / 10**6:.0f} bytes of memory for each byte of the file"


def test_a_million_lists_in_each_other_do_not_crash_the_process(tmp_path):
    (tmp_path / "deep.pickle").write_bytes(b"\x80\x04" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".")
    run = in_fresh_process(LOAD_ALL, tmp_path)
    assert (run.stdout, run.returncode) == ("refused\n", 0), run.stderr


def doubled(times: int) -> list:
    """A list that holds another one twice, which holds another one twice, and so on."""
    value: list = ["a token"]
    for _ in range(times):
        value = [value, value]
    return value


def holding_itself() -> list:
    value: list = []
    value.append(value)
    return value


SHARED = {
    "26 lists, each twice in the next": doubled(26),
    "20,000 references to one array": [np.zeros(30_000)] * 20_000,
    "20,000 references to one tensor": [torch.zeros(30_000)] * 20_000,
    "20,000 references to one text": ["a" * 10_000] * 20_000,
    "20,000 references to one list": [[0] * 20_000] * 20_000,
    "a mapping of one list": dict.fromkeys(range(20_000), [0] * 20_000),
    "a list that holds itself": holding_itself(),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_value_that_is_far_larger_as_a_tree_than_as_a_file_is_refused(tmp_path, name):
    """Whoever reads it would walk all of it: 2^26 lists in some 200 bytes, or gigabytes in 300 kB."""
    said = refused(tmp_path / "x", pickle.dumps(SHARED[name]))
    assert "again and again" in said or "nests deeper" in said


@pytest.mark.parametrize("way", [pickle.dumps, lambda value: torch_saved(value, zipped=True)], ids=["pickle", "torch"])
def test_values_that_others_share_within_reason_are_loaded(tmp_path, way):
    matrix, label = torch.ones(400, 400), "a label of some length"
    value = {"embeddings": matrix, "head": matrix, "labels": [label] * 10_000, "rows": [[0.0] * 100] * 100}
    (tmp_path / "x").write_bytes(way(value))
    assert torch.equal(artifacts.load(tmp_path / "x")["head"], matrix)
    assert artifacts.load(tmp_path / "x")["rows"] == value["rows"]


def test_what_goes_on_after_its_end_is_refused(tmp_path):
    for content in (pickle.dumps(1, 4), torch_saved(torch.ones(2), zipped=False)):
        assert "goes on after its end" in refused(tmp_path / "x", content + b"\n")


def test_what_is_said_of_a_file_is_one_short_line_whatever_is_in_it(tmp_path):
    name = "x\n\x1b[31m" + "y" * 10**6
    for content in (text(name) + text(name) + b"\x93", text(name) + b"\x85Q", b"I" + name.encode() + b"\n"):
        said = refused(tmp_path / "x", b"\x80\x04" + content + b".")
        assert said.isprintable()
        assert len(said) < 600


# --- damaged and random files ------------------------------------------------------------------------------

SMALL = {
    **{f"protocol {protocol}": pickle.dumps([torch.arange(2.0), np.arange(2), {"a": None}], protocol)
       for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "torch.save": torch_saved(torch.arange(2.0), zipped=True),
    "torch.save, legacy": torch_saved(torch.arange(2.0), zipped=False),
}  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
def test_a_file_cut_at_any_byte_is_refused(tmp_path, kind):
    (tmp_path / "whole.pickle").write_bytes(SMALL[kind])
    artifacts.load(tmp_path / "whole.pickle")  # the positive control
    for length in range(len(SMALL[kind])):
        refused(tmp_path / "cut.pickle", SMALL[kind][:length])


PIECES = st.one_of(
    st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes if opcode.arg is None]),
    st.sampled_from([refer(*name) for name in torch_files._TABLE]),
    st.sampled_from([*UNUSUAL.values(), RECONSTRUCT, SWAPPED, ENCODE, SCALAR, TENSOR, SHAPE]),
    st.text(max_size=5).map(text),
    st.binary(max_size=9).map(lambda data: b"C" + bytes([len(data)]) + data),
    st.integers(-(2**70), 2**70).map(number),
    st.builds(lambda code, place: code + bytes([place]), st.sampled_from([b"q", b"h"]), st.integers(0, 3)),
    st.sampled_from(["f4", "U3", "S1", "O8", "V2", "c16"]).map(text),
)
NUMBERS = st.sampled_from([number(n) for n in (-1, 0, 1, 2, 3, 8, 2**31, 2**61 - 1, 2**63)])
CODES = st.sampled_from(["f8", "f4", "i8", "u1", "b1", "c16", "S4", "U1", "S0", "O8", "V4"])
EXTENTS = st.lists(NUMBERS, max_size=3).map(b"".join)
DTYPES = st.builds(dtype, CODES, st.just(b"") | st.tuples(NUMBERS, NUMBERS, NUMBERS).map(b"".join))
BLOBS = st.integers(0, 40).map(lambda size: blob(bytes(range(size))))
ARRAYS = st.builds(array, EXTENTS, DTYPES, BLOBS)
FROM_NUMPY = refer("builtins", "getattr") + refer("torch._C", "_VariableFunctionsClass") + text("from_numpy") + b"\x86R"
STRUCTURED = st.one_of(
    DTYPES, ARRAYS, BLOBS, NUMBERS, PIECES, st.builds(scalar, DTYPES, BLOBS), st.builds(tensor, EXTENTS, EXTENTS),
    st.builds(lambda *parts: b"(K\x01(%bt%b\x89%btb" % parts, EXTENTS, DTYPES, BLOBS),  # fills it again
    st.builds(lambda *parts: refer("numpy._core.numeric", "_frombuffer") + b"(%b%b(%btC\x01CtR" % parts,
              BLOBS | ARRAYS, DTYPES, EXTENTS),
    (ARRAYS | BLOBS).map(lambda part: refer("torch.storage", "_load_from_bytes") + part + b"\x85R"),
    ARRAYS.map(lambda part: FROM_NUMPY + part + b"\x85R"),
    st.tuples(EXTENTS, EXTENTS).map(lambda parts: TENSOR + b"(" + get(0) + b"K\x00(%bt(%bt\x89)tR" % parts),
)  # fmt: skip
PLAIN = (type(None), bool, int, float, str, bytes, bytearray, np.generic, np.ndarray, torch.Tensor)


def is_plain(value: object, depth: int = 0) -> bool:
    """Whether it is one of the few things that may come out, down to where a list may hold itself, and can be shown."""
    if depth > 50:
        return True
    if isinstance(value, (list, tuple, dict)):
        parts = value if not isinstance(value, dict) else [*value, *value.values()]
        return all(is_plain(part, depth + 1) for part in itertools.islice(parts, 100))
    return isinstance(value, PLAIN) and len(repr(value)) > 0


@settings(max_examples=2000, deadline=None)
@given(st.lists(PIECES, max_size=25) | st.lists(STRUCTURED, max_size=6), st.sampled_from(["pickle", "zip", "legacy"]))
def test_random_programs_are_refused_or_give_plain_values(folder, pieces, way):
    program = b"".join(pieces)
    ways = {
        "pickle": b"\x80\x04" + program + b".",
        "zip": torch_zip(program),
        "legacy": torch_legacy(b"K\x00", program),
    }
    (folder / "x").write_bytes(ways[way])
    with contextlib.suppress(InputError):
        assert is_plain(artifacts.load(folder / "x"))


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(SMALL)), st.data())
def test_files_with_some_changed_bytes_are_refused_or_give_plain_values(folder, kind, data):
    content = bytearray(SMALL[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x").write_bytes(content)
    with contextlib.suppress(InputError):
        assert is_plain(artifacts.load(folder / "x"))
