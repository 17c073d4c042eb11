"""What an encoder guesses of an object's solid, and the surface that a sampled structure gives it.

The structure's flow moves voxels about; the guess says smoothly where the border of a solid would lie. Where
both differ the sample counts, and what the picture shows for certain, the outline, counts above both.
R voxels a side of the structure · r of the structured latent · n = 2r + 1 corners · L voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from backend.lifting.outline import SLIMMEST, Outline
from backend.lifting.surface import SurfaceGuess, border_distance, borders, missing, solid_features
from backend.representations.enclosed import made_solid

VOXELS_A_CELL = 2  # of the structured latent, in a cell of the volume
BORDER = 0.5  # what `inside` is where the border most likely lies
_INSET = 0.5  # voxels; those that a surface crosses are taught as inside, so it lies so much deeper
TOO_FULL = 0.5
"""Voxels by which guesses of pictures are fuller than what was taught, as measured on objects kept back."""
_SAMPLED = 0.75  # how much the difference between a sample and the guess counts beside the guess
_BLUR = 0.8  # voxels
_SLOPE = 0.25  # of `inside` where the shape is known, a voxel
_MARGIN = 0.1  # cells; voxels whose middle lies no further within the outline stick out of it
_SLIVER = -0.02  # cells; voxels that have no corner deeper inside need not be there
_HOLE = 2  # voxels; half the width of holes in a structure that a solid is made round
_LEAK = 3  # the same in a sampled surface; what is closed too far is so in its start too, and cancels out
_LONE = 3  # voxels; where fewer lie together that a sample adds or takes away, it is noise
_CRUMB = 8  # corners; smaller groups are no part of anything
_GAP = 3  # corners; half the width of openings to what counts as hollow
_FILLING = 0.5  # cells from the border where crumbs and tunnels were


@dataclass(frozen=True)
class Shape:
    """occupied (R, R, R) bool: the structure's voxels · held: these, and others that hold slivers of the
    surface · distance (n, n, n) to the solid's border in cells,
    negative inside.
    """

    occupied: Tensor
    held: Tensor
    distance: Tensor


@dataclass(frozen=True)
class SolidGuess:
    """inside (R, R, R): how likely each voxel lies inside, `BORDER` where the border is · colors (3, r, r, r)
    in [−1, 1] · surface: what makes latents of a solid · start (1, Cz, …): the guess as a structure latent ·
    outline: the picture's, if it is known · distance (n, n, n): to the border, once a shape is settled on ·
    counted (R, R, R) bool: the structure where a sample agrees with the guess, if that is not the sample's.
    """

    inside: Tensor
    colors: Tensor
    surface: SurfaceGuess
    start: Tensor
    outline: Outline | None = None
    distance: Tensor | None = None
    counted: Tensor | None = None

    @torch.no_grad()
    def shaped(self, sampled: Tensor, guessed: Tensor) -> Shape:
        """The shape of a sample; logits (R, R, R) of its structure and of the guess's own."""
        started = guessed > 0
        changed = _in_groups((sampled > 0) != started)
        taken = started ^ changed
        filled = _filled(taken)
        inside = self.inside + _SAMPLED * (filled - _filled(started))
        # A guess may be less sure of the middle of a solid than of what is round it.
        inside = torch.maximum(inside, -F.max_pool3d(-filled[None], 5, 1, 2)[0])
        distance, beside = self._distances(inside)
        border, middle = borders(distance[None], len(sampled))[0, 0], _middles(distance, len(sampled))
        if self.counted is not None:
            taken = torch.where(changed, taken, self.counted)
        # The border passes through the outermost of the voxels that are full.
        occupied = (taken | border & (middle < self._inset)) & (beside < 0)
        deepest = -F.max_pool3d(-_corners(distance, len(sampled)), 2, 1)[0, 0]
        slivers = border & (deepest < _SLIVER)
        side = len(sampled) // self.colors.shape[-1]
        needed = missing(slivers[None, None], occupied[None, None], side)[0, 0]
        return Shape(occupied, occupied | needed, distance)

    def settled(self, shape: Shape) -> SolidGuess:
        """The same with a shape's border for its own."""
        return replace(self, distance=shape.distance)

    def around(self, occupied: Tensor) -> SolidGuess:
        """The same with a surface through the middle of the outermost of voxels (R, R, R) for its border."""
        cells = self.cells
        distance = F.avg_pool3d(_away(occupied, 1).to(self.inside)[None, None], 2, 1) * cells / len(occupied)
        if len(occupied) != cells:
            distance = F.interpolate(distance, (cells + 1,) * 3, mode="trilinear", align_corners=True)
        return replace(self, distance=distance[0, 0])

    def of_asset(
        self, distance: Tensor, occupied: Tensor, start: Tensor, outline: Outline | None
    ) -> SolidGuess:
        """The same with the shape of an asset: distance (n, n, n) in cells to its surface, negative inside,
        its voxels (R, R, R), structure latent and outline.
        """
        given = replace(self, start=start, outline=outline, counted=occupied)
        away = (_middles(distance, len(occupied)) - given._inset) * len(occupied) / self.cells
        return replace(given, inside=(BORDER - _SLOPE * away).clamp(0, 1))

    @torch.no_grad()
    def latents(self, coords: Tensor) -> Tensor:
        """Normalised latents (L, C) of the surface on voxels (L, 3)."""
        distance = self._distances(self.inside)[0] if self.distance is None else self.distance
        x, y, z = coords.long().unbind(1)
        features = solid_features(distance, coords, self.colors[:, x, y, z].T)
        surface = self.surface.to(features.device)  # it may have left a card with the encoder
        found = surface.encoder(features, surface.encoder.structure(coords))[0].float()
        return (found - surface.mean) / surface.std

    def shows(self, occupied: Tensor) -> float:
        """Share of voxels (R, R, R) bool that fall on what the picture shows; 0 where there is no picture."""
        if self.outline is None or not occupied.any():
            return 0.0
        beside = _middles(self.outline.beside(), len(occupied))
        return float((beside[occupied] < 1).float().mean())

    @property
    def cells(self) -> int:
        """Cells a side of the grid of distances."""
        return 2 * self.colors.shape[-1]

    @property
    def _inset(self) -> float:
        """Cells by which the border moves inwards; not where no outline gives back thin parts."""
        return 0.0 if self.outline is None else (_INSET + TOO_FULL) * self.cells / len(self.inside)

    def _distances(self, inside: Tensor) -> tuple[Tensor, Tensor]:
        """From the border (n, n, n) in cells, and voxels' (R, R, R) from what the picture shows."""
        cells = self.cells
        level = inside.new_full((1,) * 5, BORDER)
        distance = border_distance(inside.clamp(0, 1)[None, None], level, cells)[0] + self._inset
        if self.outline is None:
            return closed(distance, torch.full_like(distance, -cells)), inside.new_full(inside.shape, -1.0)
        outline, size = self.outline, len(inside)
        axis = (torch.arange(size, device=inside.device) + 0.5) / size - 0.5
        middles = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
        beside = outline.beside_at(middles, SLIMMEST + _MARGIN).view(inside.shape) + _MARGIN
        return _ended(closed(outline.applied(distance), outline.beside())), beside


def given_on_voxels(guess: Tensor, volume: Tensor, behind: Tensor, coords: Tensor) -> Tensor:
    """What an aligned flow of the structured latent reads of its voxels (L, 3): the guessed latents (L, C),
    the volume (1, C', r, r, r), whose cells hold several voxels, and how far each is hidden (L,).
    """
    x, y, z = (coords.long() // VOXELS_A_CELL).unbind(1)
    return torch.cat([guess, volume[0, :, x, y, z].T.to(guess), behind[:, None].to(guess)], dim=1)


def closed(distance: Tensor, beside: Tensor) -> Tensor:
    """Distances (n, n, n) without crumbs, hollows and tunnels, but those that the picture looks through:
    beside (n, n, n) is below 0 where it shows the object.
    """
    inside = distance.detach().cpu().numpy() < 0
    whole = made_solid(inside, beside.cpu().numpy() < -1, _GAP, _CRUMB)
    more, less = (torch.from_numpy(one).to(distance.device) for one in (whole & ~inside, inside & ~whole))
    return torch.where(more, -_FILLING, torch.where(less, _FILLING, distance))


def _ended(distance: Tensor) -> Tensor:
    """Distances (n, n, n), the cube's border outside: no mesh goes beyond it, and no outline knows of it."""
    within = torch.zeros_like(distance, dtype=torch.bool)
    within[1:-1, 1:-1, 1:-1] = True
    return torch.where(within, distance, distance.clamp(min=_FILLING))


def _middles(corners: Tensor, size: int) -> Tensor:
    """Values (n, n, n) at corners -> their means in the middle of (size, size, size) voxels."""
    return F.avg_pool3d(_corners(corners, size), 2, 1)[0, 0]


def _corners(corners: Tensor, size: int) -> Tensor:
    """The same values at the corners of (size, size, size) voxels: (1, 1, …)."""
    if len(corners) == size + 1:
        return corners[None, None]
    return F.interpolate(corners[None, None], (size + 1,) * 3, mode="trilinear", align_corners=True)


def _in_groups(changed: Tensor) -> Tensor:
    """Those of the voxels (R, R, R) bool that have at least `_LONE`, themselves among them, within 3³."""
    together = F.avg_pool3d(changed[None, None].float(), 3, 1, 1, divisor_override=1)[0, 0]
    return changed & (together >= _LONE)


def _away(occupied: Tensor, margin: int = 0) -> Tensor:
    """How many voxels each (R, R, R), and so many round them, lies from the outermost of the occupied,
    negative in what these enclose.
    """
    solid = made_solid(np.pad(occupied.cpu().numpy(), margin + _HOLE), None, _HOLE, 0)
    within = np.maximum(ndimage.distance_transform_edt(solid) - 1, 0)
    away = ndimage.distance_transform_edt(~solid) - within
    return torch.from_numpy(away[(slice(_HOLE, -_HOLE),) * 3])


def _filled(occupied: Tensor) -> Tensor:
    """How far voxels (R, R, R) bool, and what they enclose but for small holes, fill space: (R, R, R) in
    [0, 1], smooth. One hole in a sampled surface must not empty a solid.
    """
    padded = np.pad(occupied.cpu().numpy(), _LEAK)
    solid = made_solid(padded, None, _LEAK, 0)[(slice(_LEAK, -_LEAK),) * 3].astype(np.float32)
    return torch.from_numpy(ndimage.gaussian_filter(solid, _BLUR)).to(occupied.device)
