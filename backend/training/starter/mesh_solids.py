"""The mesh decoder's last training: solids as they are guessed, whose inside is inside all the way.

True surfaces are thin shells for the most part, for few assets are closed. What is made of a picture
is a solid with a smooth border and the picture's outline, so here the border of such is learned.
L voxels · M voxels to decode · n corners of a grid a side.
"""

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
from backend.representations.gaussians import GaussianConfig
from backend.training.dataset import FINE_CELLS, ObjectSource, grown, surface_tints
from backend.training.loop import Part
from backend.training.starter.autoencoder_latent import LatentAutoencoder
from backend.training.starter.recipe import Recipe
from backend.training.starter.surface_sample import (
    CORNERS,
    SurfaceSample,
    boxed,
    gaussian_places,
    mesh_loss,
    surface_sample,
)

_TRUE = 4  # one in so many samples is a true surface, as meshes are encoded


def mesh_part(recipe: Recipe, source: ObjectSource, autoencoder: LatentAutoencoder) -> Part[SurfaceSample]:
    """Training of the autoencoder's mesh decoder alone."""
    decoder = autoencoder.mesh_decoder.requires_grad_(True)
    config = GaussianConfig.from_json(recipe.gaussian_decoder["representation_config"], recipe.resolution)
    places = gaussian_places(autoencoder.gaussian_decoder.offset_perturbation, config)

    def batch(number: int) -> SurfaceSample:
        if number % _TRUE == 0:
            return surface_sample(recipe, *source.scene(number, surface=True), places)
        return solid_sample(recipe, *source.scene(number))

    def loss(sample: SurfaceSample, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        latents = autoencoder.encode(sample.coords, sample.features)[sample.chosen]
        return mesh_loss(decoder, sample.coords[sample.chosen], latents, sample)

    return Part("mesh_decoder", decoder, batch, loss)


def solid_sample(recipe: Recipe, scene: Scene, rng: np.random.Generator) -> SurfaceSample:
    """A random box of the scene's solid, as smooth as a guess; half of them with an outline."""
    distance = guessed_distance(recipe, scene, rng)
    occupied = borders(distance, recipe.resolution)[0, 0].numpy()
    coords = np.argwhere(grown(occupied, rng) | occupied).astype(np.int32)
    if len(coords) == 0:
        return solid_sample(recipe, scene, np.random.default_rng(rng.integers(2**32)))
    coords, chosen = boxed(coords, recipe.latent_voxels, rng)
    tints = surface_tints(scene, recipe.resolution)[0]
    places = torch.from_numpy(coords)
    own = torch.from_numpy(tints[(slice(None), *coords.T)].T)
    size = FINE_CELLS * recipe.resolution
    fine = F.interpolate(distance[None], (size + 1,) * 3, mode="trilinear", align_corners=True)[0, 0]
    smooth = F.interpolate(torch.from_numpy(tints)[None].float(), (size + 1,) * 3, mode="trilinear")[0]
    cubes = subdivide_coords(subdivide_coords(places[chosen].long()))
    x, y, z = (cubes[:, None] + CORNERS).unbind(-1)
    return SurfaceSample(
        places,
        solid_features(distance[0], places, own / 127.5 - 1),
        torch.from_numpy(chosen),
        (fine[x, y, z] / COARSE_CELLS).clamp(-1, 1),
        smooth[:, x, y, z].movedim(0, -1),
    )


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
    alpha = torch.from_numpy(picture(scene, recipe.picture_size)[3])
    return outline_of(recipe.lifting, alpha).applied(distance[0])[None]
