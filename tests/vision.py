"""How colours look to people who see few of them, and how far apart they are to the eye."""

import numpy as np
from matplotlib.colors import to_rgb

# What is left of linear RGB where one kind of cone is missing: Machado, Oliveira and Fernandes (2009), "A
# physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15, severity 1.0.
VISIONS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(axis=1)


def linear(color) -> np.ndarray:
    """A colour as matplotlib names it, in linear RGB (IEC 61966-2-1)."""
    values = np.array(to_rgb(color))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def distance(one, other, vision: str) -> float:
    """How far apart two colours are under a vision: CIE 1976, of which 2.3 is just seen and 100 is black to white."""
    a, b = (_lab(np.clip(VISIONS[vision] @ linear(color), 0, 1)) for color in (one, other))
    return float(np.linalg.norm(a - b))


def contrast(one, other) -> float:
    """WCAG 2's contrast of two colours, 1 to 21: text is read from 4.5, a line or a mark seen from 3."""
    dark, light = sorted(float(_XYZ[1] @ linear(color)) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def mixed(one, other, share: float) -> np.ndarray:
    """So much of one colour with the rest of another, as a browser mixes them in sRGB."""
    return share * np.array(to_rgb(one)) + (1 - share) * np.array(to_rgb(other))


def _lab(values: np.ndarray) -> np.ndarray:
    ratio = _XYZ @ values / _WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
