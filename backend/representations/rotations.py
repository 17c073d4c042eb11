"""Quaternions (w, x, y, z) and rotation matrices."""

import torch
import torch.nn.functional as F


def rotation_matrices(rotation: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (N, 3, 3) of quaternions (N, 4) of any length but zero."""
    w, x, y, z = F.normalize(rotation, dim=-1).unbind(-1)
    square = x * x + y * y + z * z
    rows = [
        [1 + 2 * (x * x - square), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 + 2 * (y * y - square), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 + 2 * (z * z - square)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def quaternions(matrices: torch.Tensor) -> torch.Tensor:
    """Unit quaternions (N, 4) of rotation matrices (N, 3, 3), the largest component positive.

    The sizes come from the diagonal and only the signs from the rest: with the diagonal as above, and in
    float64 from here on, files equal those of the published model to the bit. A more accurate conversion
    would be up to 1e-4 away from them: the root of a difference near zero loses half of the digits.
    """
    m = matrices.double()
    x, y, z = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    size = torch.stack([1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z], -1).clamp_min(0).sqrt()
    wx, wy, wz = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 1, 0] + m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 2, 1] + m[:, 1, 2]
    one = torch.ones_like(wx)
    # products[:, i, j] has the sign of component i times component j
    rows = [[one, wx, wy, wz], [wx, one, xy, xz], [wy, xy, one, yz], [wz, xz, yz, one]]
    products = torch.stack([torch.stack(row, -1) for row in rows], -2)
    signs = products[torch.arange(len(m), device=m.device), size.argmax(-1)].sign()
    return F.normalize(size * signs, dim=-1).to(matrices.dtype)
