"""LinearPatch's matrix is what its definition says, on orthogonal Hadamard matrices."""

import pytest
import torch
from scipy.linalg import hadamard as sylvester

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.shorten.patches import Sizes, hadamard


@pytest.mark.parametrize("order", [1, 2, 8, 12, 20, 24, 36, 128, 384, 576, 768, 896])
def test_a_hadamard_matrix_is_orthogonal_and_flat(order):
    made = hadamard(order)
    torch.testing.assert_close(made @ made.T, torch.eye(order, dtype=torch.float64))
    torch.testing.assert_close(made.abs(), torch.full_like(made, order**-0.5))


def test_powers_of_two_are_scipys():
    torch.testing.assert_close(hadamard(16) * 4, torch.from_numpy(sylvester(16)).double())


def test_an_order_that_no_construction_makes_is_named():
    with pytest.raises(InputError, match="of width 18"):
        hadamard(18)


def test_a_patch_gives_the_rotated_coordinates_the_size_they_have_behind_the_cut():
    torch.manual_seed(0)
    before, behind = torch.randn(40, 24), 3 * torch.randn(40, 24) + 1
    sizes = Sizes(24)
    for pair in zip(before.chunk(2), behind.chunk(2), strict=True):
        sizes.update(*pair)
    added = sizes.solve()
    torch.testing.assert_close(added, added.T)
    rotation = hadamard(24)
    patched = (before.double() + before.double() @ added.T) @ rotation
    torch.testing.assert_close(patched.abs().mean(0), (behind.double() @ rotation).abs().mean(0))
