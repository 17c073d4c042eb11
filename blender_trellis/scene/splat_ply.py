"""Gaussians as a 3DGS .ply, as splat viewers read it. No bpy here.

One binary little-endian `vertex` element of float32: x y z nx ny nz f_dc_0..2 opacity scale_0..2 rot_0..3.
"""

from pathlib import Path

import numpy as np

PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacity",
    *("scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3"),
)
SPLAT_ARRAYS = ("position", "f_dc", "opacity", "scale", "rotation")
"""What the file holds of an asset's Gaussians."""
# A quarter turn about x, (x, y, z) -> (x, -z, y): viewers of these files have y up or down, never z.
TURN = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])


def write_splat_ply(
    path: Path,
    position: np.ndarray,
    f_dc: np.ndarray,
    opacity: np.ndarray,
    scale: np.ndarray,
    rotation: np.ndarray,
) -> None:
    """Writes N splats given Z-up: position, f_dc, scale (log) each (N, 3), opacity (N, 1) (logit), rotation
    (N, 4) w, x, y, z. The file has them turned by (x, -z, y)."""
    x, y, z = position.astype(np.float64).T
    columns = [np.stack([x, -z, y], 1), np.zeros((len(position), 3)), f_dc, opacity.reshape(-1, 1), scale]
    rows = np.concatenate([*columns, turned(rotation)], axis=1).astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in PROPERTIES] + ["end_header", ""]
    with open(path, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(rows.tobytes())


def turned(rotation: np.ndarray) -> np.ndarray:
    """The quaternions (N, 4) after TURN, of unit length, their largest component positive."""
    w, x, y, z = rotation.astype(np.float64).T
    a, b = TURN[0], TURN[1]
    product = np.stack([a * w - b * x, a * x + b * w, a * y - b * z, a * z + b * y], 1)
    product /= np.linalg.norm(product, axis=1, keepdims=True)
    largest = np.abs(product).argmax(axis=1)
    return product * np.sign(np.take_along_axis(product, largest[:, None], axis=1))
