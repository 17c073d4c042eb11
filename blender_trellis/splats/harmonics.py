"""Real spherical harmonics with the signs and the order of 3D Gaussian Splatting (Kerbl et al., 2023).

K basis functions of degree 1 and up · D directions.
"""

import numpy as np

DC = 0.28209479177387814  # the constant harmonic: color = 0.5 + DC · f_dc
COUNTS = (0, 3, 8, 15)  # basis functions by the highest degree

Monomials = tuple[tuple[float, str], ...]
# Each basis function of a unit direction as a sum of factor · product of x, y, z.
BASIS: tuple[Monomials, ...] = (
    ((-0.4886025119029199, "y"),),
    ((0.4886025119029199, "z"),),
    ((-0.4886025119029199, "x"),),
    ((1.0925484305920792, "xy"),),
    ((-1.0925484305920792, "yz"),),
    ((0.6307831305050401, "zz"), (-0.31539156525252005, "xx"), (-0.31539156525252005, "yy")),
    ((-1.0925484305920792, "xz"),),
    ((0.5462742152960396, "xx"), (-0.5462742152960396, "yy")),
    ((-1.7701307697799304, "xxy"), (0.5900435899266435, "yyy")),
    ((2.890611442640554, "xyz"),),
    ((-1.828183197857863, "zzy"), (0.4570457994644658, "xxy"), (0.4570457994644658, "yyy")),
    ((0.7463526651802308, "zzz"), (-1.1195289977703462, "xxz"), (-1.1195289977703462, "yyz")),
    ((-1.828183197857863, "zzx"), (0.4570457994644658, "xxx"), (0.4570457994644658, "xyy")),
    ((1.445305721320277, "xxz"), (-1.445305721320277, "yyz")),
    ((-0.5900435899266435, "xxx"), (1.7701307697799304, "xyy")),
)


def basis(directions: np.ndarray) -> np.ndarray:
    """Unit directions (D, 3) -> (D, 15)."""
    axes = dict(zip("xyz", directions.T, strict=True))
    columns = [
        sum(factor * np.prod([axes[axis] for axis in product], axis=0) for factor, product in monomials)
        for monomials in BASIS
    ]
    return np.stack(columns, axis=1)


def turned(f_rest: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Coefficients (N, 3, K) of functions on the sphere, each turned by the orthogonal matrix (3, 3)."""
    count = f_rest.shape[2]
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The turned function has at a direction what the old one had where that direction came from.
    old, new = basis(directions @ rotation)[:, :count], basis(directions)[:, :count]
    matrix = np.linalg.lstsq(new, old, rcond=None)[0]
    return (f_rest @ matrix.T.astype(np.float32)).astype(np.float32)
