"""The outline of a solid, by construction: what the picture shows is there, and nothing beside it.

A view-aligned model knows where each place falls in its picture, but for size and shift, which the picture
does not tell: they are fitted. What then falls beside the object is cut away. Where the picture shows it and
the solid has nothing, a body is added: as deep as what is beside it, as thick as it is wide there, and round.
Dims: n corners a side · S pixels a side · N places. Lengths are in cells of the corners' grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

CROP_MARGIN = 1.2
"""Width of a picture as cropped over the longest side of what it shows, as backend.image.crop makes it."""
_SCALES = tuple(0.875 + n / 32 for n in range(18))  # exact in float32, which is how they are stored
_SHIFTS = 6  # pixels to either side
_LARGER = 33 / 32  # a guessed solid over what its surface encloses: it holds whole voxels
_LIKELY = 0.03  # less likely places do not count as part of the silhouette
_LOST = 3.0  # how much more than overlap it weighs that the cube holds all that the picture shows
_MIDDLE = 0.1  # half the depth of the slab in the cube's middle that should hold it, as a share of the cube
_STEEPEST = 3.0  # cells by which a body is thickened at most where its depth changes
_ROUNDS = 64  # of handing depths on from pixel to pixel
_DEEP = 8.0  # voxels
SLIMMEST, _THICKEST = 0.72, 12.0  # cells from the middle of a body to its border; slimmer ones slip through


@dataclass(frozen=True)
class NominalCamera:
    """The camera on −Y, raised by `elevation` degrees and `fov` degrees wide, that a picture is taken to be
    from. Its crop holds an object whose longest side is 1.
    """

    elevation: float
    fov: float

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (N, 3) of the unit cube -> places (N, 2) in the picture, columns then rows in [−1, 1], and
        depths (N,) along the line of sight.
        """
        tilt, half = math.radians(self.elevation), math.radians(self.fov) / 2
        distance = math.sqrt(0.75) / math.sin(half)
        x, y, z = points.unbind(-1)
        depth = distance + y * math.cos(tilt) - z * math.sin(tilt)
        up = z * math.cos(tilt) + y * math.sin(tilt)
        scale = distance / (0.5 * CROP_MARGIN)
        return torch.stack([x / depth * scale, -up / depth * scale], dim=-1), depth


@dataclass(frozen=True)
class Outline:
    """alpha (S, S) in [0, 1] of the picture as cropped, in 255ths · the camera that took it · cells a side of
    the corners' grid · scale and shift that were fitted.
    """

    alpha: Tensor
    camera: NominalCamera
    cells: int
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def places(self) -> Tensor:
        """Where the corners fall in the picture: (n³, 2), columns then rows in [−1, 1]."""
        return self.seen(self._projected[0])

    @cached_property
    def depths(self) -> Tensor:
        """Of the corners along the line of sight: (n³,)."""
        return self._projected[1] * self.cells

    @cached_property
    def _projected(self) -> tuple[Tensor, Tensor]:
        axis = torch.linspace(-0.5, 0.5, self.cells + 1, device=self.alpha.device)
        corners = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        return self.camera.project(corners.view(-1, 3))

    def to(self, device: torch.device) -> Outline:
        """The same on a device."""
        return replace(self, alpha=self.alpha.to(device))

    @torch.no_grad()
    def fitted(self, inside: Tensor) -> Outline:
        """The same, its places scaled and shifted to where a solid covers the picture's object best: inside
        (R, R, R) is 0 outside of it and 1 deep inside. It holds the voxels that the surface crosses.
        """
        solid = F.pad(F.avg_pool3d(inside.clamp(0, 1)[None, None], 2, 1), (1,) * 6)
        side = self.cells + 1
        if solid.shape[-1] != side:
            solid = F.interpolate(solid, (side,) * 3, mode="trilinear", align_corners=True)
        solid = solid[0, 0]
        small = F.avg_pool2d(self.alpha[None], 2)[0]
        size, likely = len(small), solid.flatten()
        some, slab = likely > _LIKELY, self._slab(len(solid))
        reach = range(-_SHIFTS // 2, _SHIFTS // 2 + 1)
        shifted = torch.stack([small.roll((-y, -x), (0, 1)) for y in reach for x in reach])
        best = (-math.inf, 1.0, 0)
        for scale in _SCALES:
            seen = _drawn(self.places[some] * scale, likely[some], size)
            held = _drawn(self.places[slab] * scale, torch.ones_like(likely[slab]), size)
            common = torch.minimum(seen, shifted).sum((1, 2)) / torch.maximum(seen, shifted).sum((1, 2))
            lost = (shifted * (1 - held)).sum((1, 2)) / small.sum()
            fit = common - _LOST * lost
            best = max(best, (float(fit.max()), scale, int(fit.argmax())))
        _, scale, number = best
        y, x = (one - len(reach) // 2 for one in divmod(number, len(reach)))
        return replace(self, scale=scale * _LARGER, shift=(2 * x / size, 2 * y / size))

    def seen(self, places: Tensor) -> Tensor:
        """Where places (…, 2) of the camera that nothing was fitted to are in this picture."""
        return places * self.scale + torch.tensor(self.shift, dtype=places.dtype, device=places.device)

    def applied(self, distance: Tensor) -> Tensor:
        """Signed distances (n, n, n) to a solid's border, negative inside -> those with this outline."""
        shows = self.alpha > 0.5
        if not shows.any() or shows.all():
            return distance
        beside = self.beside().flatten()
        cut = torch.maximum(distance.flatten(), beside)
        depth, half = self._bodies(cut)
        body = torch.maximum((self.depths - self._sampled(depth)).abs() - self._sampled(half), beside)
        return torch.minimum(cut, body).reshape(distance.shape)

    def _slab(self, side: int) -> Tensor:
        """The corners (n³,) bool near the cube's middle along Y."""
        y = torch.linspace(-0.5, 0.5, side, device=self.places.device).abs() < _MIDDLE
        return y[None, :, None].expand(side, side, side).flatten()

    def beside(self) -> Tensor:
        """How far each corner lies beside what the picture shows, negative on it: (n, n, n)."""
        return self._sampled(self._from_the_object()).view((self.cells + 1,) * 3)

    def beside_at(self, points: Tensor, slimmest: float) -> Tensor:
        """The same of points (N, 3) of the unit cube, in cells of the corners' grid: (N,). What the picture
        shows counts as `slimmest` cells wide to either side at least.
        """
        return sampled(self._from_the_object(slimmest), self.seen(self.camera.project(points)[0]))

    def least_seen(self, places: Tensor, values: Tensor) -> Tensor:
        """The least of the values (N,) at places (N, 2) in each pixel, or in those beside it where there is
        none; -inf where there is none either: (S, S).
        """
        size = len(self.alpha)
        pixel, held = _pixels(places, size)
        seen = values.new_full((size * size,), math.inf)
        seen = seen.scatter_reduce_(0, pixel[held], values[held], "amin").view(size, size)
        seen = torch.where(seen.isfinite(), seen, -F.max_pool2d(-seen[None], 3, 1, 1)[0])
        return torch.where(seen.isfinite(), seen, -math.inf)

    def behind(self, voxels: Tensor, resolution: int) -> Tensor:
        """How far voxels (L, 3) of a grid lie behind the first of them along the line of sight, from 0 to 1
        for `_DEEP` voxels and more: (L,).
        """
        side, cells = self.cells + 1, self.cells // resolution
        x, y, z = (voxels.long() * cells + cells // 2).unbind(1)
        corner = (x * side + y) * side + z
        depth = self.depths[corner]
        pixel, held = _pixels(self.places[corner], resolution)
        first = depth.new_full((resolution**2,), math.inf)
        first.scatter_reduce_(0, pixel[held], depth[held], "amin")
        found = torch.where(held, depth - first[pixel], 0.0) / cells
        return ((found - 1) / _DEEP).clamp(0, 1)

    def _from_the_object(self, slimmest: float = SLIMMEST) -> Tensor:
        """The same of the pixels: (S, S)."""
        shows = self.alpha.cpu().numpy() > 0.5
        far = ndimage.distance_transform_edt(~shows) - ndimage.distance_transform_edt(shows)
        # Half a pixel between the nearest centres on either side, less where alpha says so.
        edge = np.abs(far) <= 1
        far = np.where(edge, 0.5 - self.alpha.cpu().numpy(), far - 0.5 * np.sign(far)) * self.pixel
        width = ndimage.distance_transform_edt(shows)
        line = shows & (width == ndimage.maximum_filter(width, 3)) & (width * self.pixel < 1)
        if line.any():
            far = np.minimum(far, ndimage.distance_transform_edt(~line) * self.pixel - slimmest)
        return torch.from_numpy(far).to(self.alpha)

    def _bodies(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Depth of the middle and half the thickness (S, S), below 0 for none, of what must be added."""
        size, shows = len(self.alpha), self.alpha > 0.5
        inside = distance < 0
        pixel, held = _pixels(self.places, size)
        covered = self._covered(inside)
        bare = shows & ~covered
        nothing = self.alpha * 0 - size
        if not bare.any():
            return self.alpha * 0, nothing
        taken = inside & held
        count, total = (
            self.alpha.new_zeros(size * size).index_add_(0, pixel[taken], values[taken]).view(size, size)
            for values in (torch.ones_like(self.depths), self.depths)
        )
        depth = _handed_on(total / count.clamp(min=1), (count > 0) & shows, shows)
        half = _half_thickness(shows) * self.pixel
        near = F.max_pool2d(bare[None].float(), 3, 1, 1)[0] > 0
        depth = _handed_on(depth, shows, shows | near)
        # Where the depth changes fast, neighbouring pixels' bodies must still touch.
        low, high = (sign * F.max_pool2d(sign * depth[None], 3, 1, 1)[0] for sign in (-1, 1))
        half = half.clamp(SLIMMEST, _THICKEST) + ((high - low) / 2).clamp(max=_STEEPEST)
        return depth, torch.where(near, half, nothing)

    def _covered(self, inside: Tensor) -> Tensor:
        """Pixels (S, S) in which some of the solid's corners (n³,) falls, or between two of them."""
        size = len(self.alpha)
        seen = _drawn(self.places[inside], self.places.new_ones(int(inside.sum())), size)
        reach = max(1, math.ceil(1 / self.pixel)) // 2 * 2 + 1
        closed = -F.max_pool2d(-F.max_pool2d(seen[None], reach, 1, reach // 2), reach, 1, reach // 2)[0]
        return closed > 0

    @property
    def pixel(self) -> float:
        """A pixel's width in cells."""
        grid = self.places.view(*(self.cells + 1,) * 3, 2)
        middle = (self.cells + 1) // 2
        cell = float(grid[middle, middle, middle, 0] - grid[middle - 1, middle, middle, 0])
        return 2 / len(self.alpha) / cell

    def _sampled(self, picture: Tensor) -> Tensor:
        """Values (n³,) of a picture (S, S) where the corners fall."""
        return sampled(picture, self.places)


def sampled(picture: Tensor, places: Tensor) -> Tensor:
    """Values (N,) of a picture (S, S) at places (N, 2), at its border for those beyond."""
    found = F.grid_sample(picture[None, None], places[None, None], padding_mode="border", align_corners=False)
    return found.flatten()


def _handed_on(depth: Tensor, known: Tensor, shows: Tensor) -> Tensor:
    """Depths (S, S), where not known the mean of those beside, along what the outline joins (harmonic)."""
    if not known.any():
        return torch.zeros_like(depth)
    row, column = ndimage.distance_transform_edt(~known.cpu(), return_distances=False, return_indices=True)
    value = torch.where(known, depth, depth[row, column])
    kernel = depth.new_tensor([[0.5, 1, 0.5], [1, 0, 1], [0.5, 1, 0.5]])[None, None]
    weight = shows.float()
    around = F.conv2d(weight[None, None], kernel, padding=1)[0, 0].clamp(min=0.5)
    for _ in range(_ROUNDS):
        mean = F.conv2d((value * weight)[None, None], kernel, padding=1)[0, 0] / around
        value = torch.where(shows & ~known, mean, value)
    return value


def _half_thickness(shows: Tensor) -> Tensor:
    """Half the thickness (S, S) of a body as thick as it is wide, in pixels: a circle's over its width."""
    edge = ndimage.distance_transform_edt(shows.cpu())
    radius = edge
    for _ in range(int(_THICKEST)):  # hands the widest width on to the edges
        radius = np.maximum(radius, ndimage.grey_dilation(radius, (3, 3)) * shows.cpu().numpy())
        radius = np.minimum(radius, 4 * edge)
    half = np.sqrt(np.maximum(2 * radius * edge - edge**2, 0))
    return torch.from_numpy(half).float().to(shows.device)


def _drawn(places: Tensor, values: Tensor, size: int) -> Tensor:
    """The largest of the values (N,) that fall into each pixel: (size, size), 0 where none does."""
    pixel, held = _pixels(places, size)
    seen = values.new_zeros(size * size)
    return seen.scatter_reduce_(0, pixel[held], values[held], "amax").view(size, size)


def _pixels(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixel (N,) of places (N, 2), and whether the picture holds it."""
    cells = ((places + 1) / 2 * size).floor().long()
    held = ((cells >= 0) & (cells < size)).all(1)
    column, row = cells.clamp(0, size - 1).unbind(1)
    return row * size + column, held
