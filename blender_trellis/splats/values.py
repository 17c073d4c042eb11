"""Gaussian splats as arrays, and what may be done to them without changing what is seen. N splats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from . import harmonics, quaternions

_LEAST_SCALE = np.float32(-80)  # log: its exponential is still a float32 above 0


@dataclass(frozen=True)
class Splats:
    """What files keep, float32: position (N, 3), f_dc (N, 3), opacity (N, 1) logit, scale (N, 3) log,
    rotation (N, 4) w, x, y, z, and f_rest (N, 3, K) for red, green and blue, K = 0, 3, 8 or 15."""

    position: np.ndarray
    f_dc: np.ndarray
    opacity: np.ndarray
    scale: np.ndarray
    rotation: np.ndarray
    f_rest: np.ndarray

    @classmethod
    def plain(cls, arrays: Mapping[str, np.ndarray]) -> Splats:
        """Splats without harmonics, from their other values by name; what else is there is left out."""
        names = [field.name for field in fields(cls) if field.name != "f_rest"]
        return cls(
            **{name: arrays[name] for name in names},
            f_rest=np.zeros((len(arrays["position"]), 3, 0), np.float32),
        )

    def __len__(self) -> int:
        return len(self.position)

    @property
    def degree(self) -> int:
        """Of the spherical harmonics, 0 to 3."""
        return harmonics.COUNTS.index(self.f_rest.shape[2])

    def taken(self, chosen: np.ndarray) -> Splats:
        """Those that a mask or an index array chooses."""
        return Splats(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def sound(self) -> Splats:
        """Those of finite values, with a size and a direction; trained scenes hold a few others.

        Logits and logs of 0 and 1 become finite: a splat may be solid, or have no thickness.
        """
        limited = replace(
            self, opacity=np.clip(self.opacity, -40, 40), scale=np.maximum(self.scale, _LEAST_SCALE)
        )
        good = limited._has_shape
        for field in fields(limited):
            good &= np.isfinite(getattr(limited, field.name)).all(
                axis=tuple(range(1, getattr(limited, field.name).ndim))
            )
        return limited if good.all() else limited.taken(good)

    @property
    def _has_shape(self) -> np.ndarray:
        """(N,) bool, a direction and a size."""
        whole = (self.rotation != 0).any(axis=1) & np.isfinite(self.rotation).all(axis=1)
        return whole & (self.scale < 80).all(axis=1)

    def moved(self, matrix: np.ndarray) -> Splats:
        """Turned, scaled, sheared, mirrored and moved by the affine matrix (4, 4), harmonics too."""
        if np.array_equal(matrix, np.eye(4)):
            return self
        linear = matrix[:3, :3].astype(np.float64)
        # Vertices of a mesh that was joined to splats are none: they must not stop the others.
        whole = self._has_shape[:, None]
        turned, sized = np.where(whole, self.rotation, (1, 0, 0, 0)), np.where(whole, self.scale, 0)
        left, sizes, right = np.linalg.svd(linear)
        turn = left @ right
        position = self.position @ linear.T + matrix[:3, 3]
        if sizes[0] - sizes[2] <= 1e-5 * sizes[0]:  # one factor for all axes
            # A Gaussian is its own mirror image in its centre.
            proper = turn * np.sign(np.linalg.det(turn))
            rotation = quaternions.product(quaternions.of_matrices(proper[None]), turned)
            scale = self.scale + np.log(max(float(sizes.mean()), 1e-30))
        else:
            axes = linear @ quaternions.matrices(turned) * np.exp(sized)[:, None]
            axes, deviations, _ = np.linalg.svd(axes)
            rotation = quaternions.of_matrices(axes * np.linalg.det(axes)[:, None, None])
            scale = np.log(np.maximum(deviations, 1e-30))
        rotation, scale = np.where(whole, rotation, self.rotation), np.where(whole, scale, self.scale)
        same = np.allclose(turn, np.eye(3), atol=1e-7)
        f_rest = self.f_rest if same or not self.degree else harmonics.turned(self.f_rest, turn)
        changed = (values.astype(np.float32) for values in (position, scale, rotation))
        position, scale, rotation = changed
        return Splats(position, self.f_dc, self.opacity, scale, rotation, f_rest)


def joined(parts: Sequence[Splats]) -> Splats:
    """All of them, in turn; harmonics that some have and others lack are zero there."""
    count = max(part.f_rest.shape[2] for part in parts)
    rests = [np.pad(part.f_rest, ((0, 0), (0, 0), (0, count - part.f_rest.shape[2]))) for part in parts]
    names = [field.name for field in fields(Splats) if field.name != "f_rest"]
    values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Splats(**values, f_rest=np.concatenate(rests))
