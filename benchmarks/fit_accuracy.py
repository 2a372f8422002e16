"""How accurate are maps from float64 moments, against a streaming QR and against extended precision?

Real GPT-2 states have a few coordinates thousands of times larger than the rest, and moments square the condition
number. This script makes states of that kind, fits one map three ways, and reports the error of each relative to
least squares in 80-bit arithmetic, before and after the rounding to float32 that every stored matrix undergoes.

Example: python benchmarks/fit_accuracy.py --rows 9000 --width 256
"""

import argparse
import time

import numpy as np
import torch

from linear_shortcuts.maps.fitting import ROWS_OF_A_PRODUCT
from linear_shortcuts.maps.regression import Gram, WhitenedMoments, columns, fit


def towering_states(rows: int, width: int, condition: float, seed: int) -> np.ndarray:
    """Correlated float32 states (rows, width) of a given condition, four coordinates 3,000 times the others."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(width, width)))
    right, _ = np.linalg.qr(rng.normal(size=(width, width)))
    states = rng.normal(size=(rows, width)) @ (left * np.geomspace(1, 1 / condition, width)) @ right
    states /= states.std(axis=0)
    states[:, rng.choice(width, 4, replace=False)] *= 3000
    return states.astype(np.float32)


def streaming_qr(source: np.ndarray, target: np.ndarray, rows_per_shard: int = 1500) -> np.ndarray:
    """TSQR: fold shard after shard into the triangular factor of [source | target], in float64."""
    width = source.shape[1]
    factor = np.empty((0, width + target.shape[1]))
    for first in range(0, len(source), rows_per_shard):
        shard = np.hstack([source[first : first + rows_per_shard], target[first : first + rows_per_shard]])
        factor = np.linalg.qr(np.vstack([factor, shard.astype(np.float64)]), mode="r")
    return np.linalg.solve(factor[:width, :width], factor[:width, width:]).T


def extended(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares by modified Gram-Schmidt in 80-bit arithmetic, on scaled columns."""
    q = source.astype(np.longdouble)
    scale = np.sqrt((q**2).sum(axis=0))
    q /= scale
    y = target.astype(np.longdouble)
    width = q.shape[1]
    r = np.eye(width, dtype=np.longdouble)
    z = np.empty((width, y.shape[1]), dtype=np.longdouble)
    for k in range(width):
        norm = np.sqrt((q[:, k] ** 2).sum())
        r[k, k] = norm
        q[:, k] /= norm
        r[k, k + 1 :] = q[:, k] @ q[:, k + 1 :]
        q[:, k + 1 :] -= np.outer(q[:, k], r[k, k + 1 :])
        z[k] = q[:, k] @ y
        y -= np.outer(q[:, k], z[k])
    for k in reversed(range(width)):
        z[k] = (z[k] - r[k, k + 1 :] @ z[k + 1 :]) / r[k, k]
    return (z / scale[:, None]).T


def moments(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What the project does for one target."""
    return fit(torch.from_numpy(source), torch.from_numpy(target)).matrices[0].numpy()


def whitened(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What the project does where many targets share a source: products with the whitened source in float32."""
    x, y = torch.from_numpy(source), torch.from_numpy(target)
    gram = Gram(x.shape[1])
    gram.update(x)
    moments = WhitenedMoments(gram.whitening(), 1, y.shape[1])
    for rows in torch.arange(len(x)).split(ROWS_OF_A_PRODUCT):
        moments.update(x[rows], [columns(y[rows])])
    return moments.solve().matrices[0].numpy()


METHODS = {"scaled float64 moments": moments, "the source whitened, float32": whitened, "streaming QR": streaming_qr}


def error(guess: np.ndarray, exact: np.ndarray, states: np.ndarray) -> float:
    """Relative error of the predictions, the norm over all rows."""
    predicted = states.astype(np.longdouble) @ exact.T
    return float(np.linalg.norm(states @ guess.T.astype(np.float64) - predicted) / np.linalg.norm(predicted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3000, help="train sentences (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="of the states (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    args = parser.parse_args()
    print("| condition | method | float64 | stored as float32 | seconds |")
    print("|---|---|---|---|---|")
    for condition in (1e1, 1e3, 1e5):
        source = towering_states(args.rows, args.width, condition, args.seed)
        noise = np.random.default_rng(args.seed + 1).normal(size=(args.rows, 16))
        target = (np.tanh(source[:, :16] / source[:, :16].std(axis=0)) + 0.1 * noise).astype(np.float32)
        exact = extended(source, target)
        for name, method in METHODS.items():
            start = time.perf_counter()
            guess = method(source, target)
            seconds = time.perf_counter() - start
            stored = guess.astype(np.float32).astype(np.float64)
            print(
                f"| {condition:.0e} | {name} | {error(guess, exact, source):.1e} | {error(stored, exact, source):.1e} "
                f"| {seconds:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
