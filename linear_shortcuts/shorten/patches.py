"""LinearPatch (arXiv 2505.24680), a baseline: where blocks are left out, the stream is rescaled, rotated coordinate by
rotated coordinate, to the size it would have behind them.

P = H diag(s) H' with H an orthogonal Hadamard matrix, which spreads the few coordinates that tower over the rest, and s
the ratios of the mean absolute values of the rotated coordinates behind and before the blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from linear_shortcuts.files import InputError


class Sizes:
    """Sums of the absolute rotated coordinates before and behind a cut, float64."""

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.rotation = hadamard(width).to(device)
        self.before, self.behind = torch.zeros(2, width, dtype=torch.float64, device=device)

    def update(self, before: Tensor, behind: Tensor) -> None:
        """Fold in rows (m, d) of the stream, row by row the same tokens."""
        self.before += (before.double() @ self.rotation).abs().sum(0)
        self.behind += (behind.double() @ self.rotation).abs().sum(0)

    def solve(self) -> Tensor:
        """P - I (d, d), symmetric: what a patch adds."""
        return self.rotation * (self.behind / self.before - 1) @ self.rotation.T


def hadamard(order: int) -> Tensor:
    """An orthogonal matrix (order, order), float64, whose entries all have one size.

    Products of Sylvester's and Paley's; `InputError` for the orders that these do not make.
    """
    signs = _signs(order)
    if signs is None:
        raise InputError(f"no Hadamard matrix of width {order} is known here, so there is no patch of that width")
    return signs / order**0.5


def _signs(order: int) -> Tensor | None:
    if order == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    for factor in range(2, order + 1):
        if order % factor == 0 and (first := _sylvester_or_paley(factor)) is not None:
            rest = _signs(order // factor)
            if rest is not None:
                return torch.kron(first, rest)
    return None


def _sylvester_or_paley(order: int) -> Tensor | None:
    """2; q + 1 for a prime q that is 3 modulo 4; 2 (q + 1) for one that is 1 modulo 4 (Paley 1933)."""
    if order == 2:
        return torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    if order % 4 == 0 and _prime(order - 1):
        core = _residues(order - 1)
        edged = torch.ones(order, order, dtype=torch.float64)
        edged[1:, 1:] = core + torch.eye(order - 1, dtype=torch.float64)
        edged[1:, 0] = -1
        return edged
    if order % 4 == 0 and (order // 2 - 1) % 4 == 1 and _prime(order // 2 - 1):
        q = order // 2 - 1
        edged = torch.ones(q + 1, q + 1, dtype=torch.float64) - torch.eye(q + 1, dtype=torch.float64)
        edged[1:, 1:] = _residues(q)
        eye = torch.eye(q + 1, dtype=torch.float64)
        plus = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
        minus = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
        return torch.kron(edged, plus) + torch.kron(eye, minus)
    return None


def _residues(q: int) -> Tensor:
    """The matrix of the quadratic character of i - j modulo a prime q: 0 on the diagonal, else 1 or -1."""
    squares = {x * x % q for x in range(1, q)}
    character = torch.tensor([0.0 if x == 0 else 1.0 if x in squares else -1.0 for x in range(q)], dtype=torch.float64)
    numbers = torch.arange(q)
    return character[(numbers[:, None] - numbers[None]) % q]


def _prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))
