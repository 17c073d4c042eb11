"""The decoders' last training: solids as they are guessed, whose inside is inside all the way.

True surfaces are thin shells for the most part, for few assets are closed. What is made of a picture
is a solid with a smooth border and the picture's outline, so here the border of such is learned.
L voxels · M voxels to decode · n corners of a grid a side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from backend.geometry.scene import Scene, occupancy, picture
from backend.layers.sparse import subdivide_coords
from backend.lifting.image_encoder import outline_of
from backend.lifting.surface import COARSE_CELLS, border_distance, borders, solid_features
from backend.representations.enclosed import enclosed
from backend.training.dataset import FINE_CELLS, ObjectSource, grown, surface_tints
from backend.training.loop import Part
from backend.training.starter.autoencoder_latent import LatentAutoencoder
from backend.training.starter.gaussian_targets import REACH, GaussianTargets, gaussian_loss
from backend.training.starter.recipe import Recipe
from backend.training.starter.surface_sample import (
    CORNERS,
    SurfaceSample,
    boxed,
    gaussian_config,
    gaussian_places,
    mesh_loss,
    surface_sample,
)

_TRUE = 4  # one in so many samples is a true surface, as meshes are encoded
_STEPS = 3  # of Newton's method towards the border
_WITHIN, _BESIDE = 0.8, -0.2  # half voxels from the border where Gaussians belong, and where there are none


def mesh_part(recipe: Recipe, source: ObjectSource, autoencoder: LatentAutoencoder) -> Part[SurfaceSample]:
    """Training of the autoencoder's mesh decoder alone."""
    decoder = autoencoder.mesh_decoder.requires_grad_(True)

    def loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return mesh_loss(decoder, sample.coords[sample.chosen], _latents(autoencoder, sample), sample)

    return Part("mesh_decoder", decoder, _samples(recipe, source, autoencoder), loss)


def gaussian_part(
    recipe: Recipe, source: ObjectSource, autoencoder: LatentAutoencoder
) -> Part[SurfaceSample]:
    """Training of the autoencoder's Gaussian decoder alone."""
    decoder = autoencoder.gaussian_decoder.requires_grad_(True)
    config = gaussian_config(recipe)

    def loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        latents = _latents(autoencoder, sample)
        return gaussian_loss(decoder, config, sample.coords[sample.chosen], latents, sample.gaussians)

    return Part("gaussian_decoder", decoder, _samples(recipe, source, autoencoder), loss)


def _samples(
    recipe: Recipe, source: ObjectSource, autoencoder: LatentAutoencoder
) -> Callable[[int], SurfaceSample]:
    places = gaussian_places(autoencoder.gaussian_decoder.offset_perturbation, gaussian_config(recipe))

    def sample(number: int) -> SurfaceSample:
        if number % _TRUE == 0:
            return surface_sample(recipe, *source.scene(number, surface=True), places)
        return solid_sample(recipe, *source.scene(number), places)

    return sample


def _latents(autoencoder: LatentAutoencoder, sample: SurfaceSample) -> Tensor:
    return autoencoder.encode(sample.coords, sample.features)[sample.chosen]


@dataclass(frozen=True)
class SolidBorder:
    """distance (n, n, n) in cells to a solid's border · coords (L, 3) i32 of the voxels that hold it, grown
    as generated ones are · tints (3, r, r, r) u8 of the surface.
    """

    distance: Tensor
    coords: Tensor
    tints: Tensor

    def features(self, coords: Tensor) -> Tensor:
        """What the latent encoder reads of some of the voxels: (L, C_in)."""
        own = self.tints[(slice(None), *coords.long().T)].T
        return solid_features(self.distance, coords, own / 127.5 - 1)


def solid_border(recipe: Recipe, scene: Scene, rng: np.random.Generator) -> SolidBorder:
    """The border of the scene's solid, as smooth as a guess; half of them with an outline."""
    while True:
        distance = guessed_distance(recipe, scene, rng)
        occupied = borders(distance, recipe.resolution)[0, 0].numpy()
        coords = np.argwhere(grown(occupied, rng) | occupied).astype(np.int32)
        if len(coords):
            tints = torch.from_numpy(surface_tints(scene, recipe.resolution)[0])
            return SolidBorder(distance[0], torch.from_numpy(coords), tints)


def solid_sample(recipe: Recipe, scene: Scene, rng: np.random.Generator, places: np.ndarray) -> SurfaceSample:
    """A random box of the scene's solid."""
    border = solid_border(recipe, scene, rng)
    coords, chosen = boxed(border.coords.numpy(), recipe.latent_voxels, rng)
    voxels, distance, tints = torch.from_numpy(coords), border.distance[None], border.tints.numpy()
    size = FINE_CELLS * recipe.resolution
    fine = F.interpolate(distance[None], (size + 1,) * 3, mode="trilinear", align_corners=True)[0, 0]
    smooth = F.interpolate(torch.from_numpy(tints)[None].float(), (size + 1,) * 3, mode="trilinear")[0]
    cubes = subdivide_coords(subdivide_coords(voxels[chosen].long()))
    x, y, z = (cubes[:, None] + CORNERS).unbind(-1)
    return SurfaceSample(
        voxels,
        border.features(voxels),
        torch.from_numpy(chosen),
        (fine[x, y, z] / COARSE_CELLS).clamp(-1, 1),
        smooth[:, x, y, z].movedim(0, -1),
        solid_gaussians(fine, tints, coords[chosen], places),
    )


def solid_gaussians(
    distance: Tensor, tints: np.ndarray, coords: np.ndarray, places: np.ndarray
) -> GaussianTargets:
    """The nearest points a little inside of a solid's border, or in its middle where it is thin: what
    Gaussians draw reaches out by as much. distance (n, n, n) in half voxels · tints (3, r, r, r) u8 ·
    voxels (L, 3) · resting places (G, 3) in [0, 1] of a voxel.
    """
    size = tints.shape[1]
    rest = torch.from_numpy(((coords[:, None] + places) / size).reshape(-1, 3)).float()
    field = torch.stack(
        [distance, *torch.gradient(distance, spacing=COARSE_CELLS * size / (len(distance) - 1))]
    )
    point = rest
    for _ in range(_STEPS):
        value, *slope = _at(field, point)
        normal = F.normalize(torch.stack(slope, dim=1), dim=1)
        point = point - ((value + _WITHIN) / (COARSE_CELLS * size))[:, None] * normal
    value, *slope = _at(field, point)
    centre = torch.from_numpy((coords + 0.5) / size).float().repeat_interleave(len(places), 0)
    near = ((point - centre).abs().amax(1) < REACH / size) & (value < _BESIDE)
    colors = _at(torch.from_numpy(tints).float() / 255, point, align_corners=False).T
    return GaussianTargets(point - 0.5, colors, F.normalize(torch.stack(slope, dim=1), dim=1), near)


def _at(field: Tensor, points: Tensor, align_corners: bool = True) -> Tensor:
    """(C, n, n, n) at points (N, 3) in [0, 1] -> (C, N)."""
    grid = (2 * points - 1).flip(-1)[None, None, None]
    found = F.grid_sample(field[None], grid, padding_mode="border", align_corners=align_corners)
    return found[0, :, 0, 0]


def guessed_distance(recipe: Recipe, scene: Scene, rng: np.random.Generator) -> Tensor:
    """Distances in cells to the border of the scene's solid, blurred: (1, n, n, n), n = 2r + 1."""
    inside = enclosed(occupancy(scene, recipe.structure_resolution)).astype(np.float32)
    cut = rng.random() < 0.5
    inside = ndimage.gaussian_filter(inside, rng.uniform(0.5, 3.0 if cut else 1.2))
    level = torch.full((1,) * 5, min(rng.uniform(0.3, 0.6), 0.6 * float(inside.max())))
    blurred = torch.from_numpy(inside)[None, None]
    distance = border_distance(blurred, level, COARSE_CELLS * recipe.resolution)
    if not cut:
        return distance
    alpha = torch.from_numpy(picture(scene, recipe.lifting.image_size)[3])
    return outline_of(recipe.lifting, alpha).applied(distance[0])[None]
