"""Arrays of quaternions w, x, y, z (N, 4) and rotation matrices (N, 3, 3)."""

import numpy as np


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamilton's product: the rotation by `second`, then by `first`."""
    a, b, c, d = first.T
    w, x, y, z = second.T
    return np.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        axis=1,
    )


def matrices(quaternions: np.ndarray) -> np.ndarray:
    """Of any length but zero -> (N, 3, 3) float64."""
    unit = quaternions / np.linalg.norm(quaternions.astype(np.float64), axis=1, keepdims=True)
    w, x, y, z = unit.T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def of_matrices(turns: np.ndarray) -> np.ndarray:
    """Rotation matrices -> unit quaternions, by the component that is largest (Shepperd, 1978)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turns.transpose(1, 2, 0)
    rows = (
        (1 + xx + yy + zz, zy - yz, xz - zx, yx - xy),
        (zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx),
        (xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy),
        (yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz),
    )
    candidates = np.stack([np.stack(row, axis=1) for row in rows], axis=1)
    largest = np.diagonal(candidates, axis1=1, axis2=2).argmax(axis=1)
    chosen = candidates[np.arange(len(turns)), largest]
    return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def canonical(quaternions: np.ndarray) -> np.ndarray:
    """Of unit length, the largest component positive; q and -q are one rotation. float64."""
    unit = quaternions / np.linalg.norm(quaternions.astype(np.float64), axis=1, keepdims=True)
    largest = np.abs(unit).argmax(axis=1)
    return unit * np.sign(np.take_along_axis(unit, largest[:, None], axis=1))
