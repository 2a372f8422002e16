"""The first place where a value has not the shape is named, and what has the shape is let through."""

import pytest
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.files.shapes import Both, Each, Json, Numbers, PairOf, Real, Whole, check

TWO = {"a": Numbers("float32", "n", 2), "b": Numbers("float32", "n")}
CASES = {  # shape, a value that has it, one that has not, and the place or reason that is named
    "whole": (Whole(1, 9), 9, 10, "10"),
    "no flag": (Whole(), 1, True, "True"),
    "real": (Real(0), 0.5, -0.5, "-0.5"),
    "finite": (Real(), 1.0, float("nan"), "nan"),
    "each": (Each(Whole()), {"x": 1}, {"x": "1"}, "x"),
    "key": (Each(Whole(), PairOf(3)), {(0, 3): 1}, {(3, 0): 1}, "a key of it a tuple, which must be two"),
    "empty": (Each(Whole(), empty=False), {"x": 1}, {}, ""),
    "missing": ({"x": str}, {"x": "y", "more": 1}, {"y": "x"}, "x"),
    "nested": ({"x": {"y": Whole()}}, {"x": {"y": 0}}, {"x": {"y": -1}}, "y"),
    "list": ([str], ["a", "b"], ["a", 2], "2"),
    "option": ((None, Whole()), None, "1", "1"),
    "both": (Both(Json(), {"x": Whole()}), {"x": 1}, {"x": 1, "y": float("inf")}, ""),
    "one size throughout": (TWO, {"a": torch.zeros(3, 2), "b": torch.zeros(3)},
                            {"a": torch.zeros(3, 2), "b": torch.zeros(4)}, "b"),
    "dtype": (Numbers("int64", "n"), torch.zeros(2, dtype=torch.int64), torch.zeros(2), "float32"),
    "least": (Numbers("float32", "n", least=0), torch.zeros(2), -torch.ones(2), ""),
    "not finite": (Numbers("float32", "n"), torch.zeros(2), torch.full((2,), torch.inf), "not finite in it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_has_the_shape_passes_and_what_has_not_is_named_with_the_mend(case):
    shape, right, wrong, place = CASES[case]
    check(right, shape, "x.pickle", "make it anew")
    with pytest.raises(InputError) as error:
        check(wrong, shape, "x.pickle", "make it anew")
    message = str(error.value)
    assert message.startswith("x.pickle ")
    assert message.endswith("; make it anew")
    assert place in message


def test_the_sizes_that_are_found_are_handed_back():
    sizes: dict[str, int] = {}
    check({"a": torch.zeros(3, 2), "b": torch.zeros(3)}, TWO, "x", "mend", sizes)
    assert sizes == {"n": 3}
    with pytest.raises(InputError):
        check({"a": torch.zeros(3, 2), "b": torch.zeros(3)}, TWO, "x", "mend", {"n": 4})
