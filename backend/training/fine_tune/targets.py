"""What a model should make of an object, and the pictures it should make that from, as records.

Published models keep an object in its own frame, so all its pictures share one pose; the starter turns it
to each picture, so every picture has a pose of its own. Every method reads the encoders it needs and returns
what makes a record of one object:

`structures` latents (P, C, r, r, r) f32; if view-aligned also packed and packed_solid (P, R³ / 8) u8, bits of
surface and solid, and tints (P, 3, r, r, r) u8 where near (P, r, r, r) bool · `latents` for every pose n
coords.n (L, 3) i32 and latent.n (L, C) f32, normalised · `looks` the same of solids, with given.n (L, C') f32
· `pictures` K cut-out pictures, picture k of pose k modulo the number of poses, as every picture reaches the
image encoder.
L voxels · C channels · r, R resolutions · P poses · K pictures.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.background import remove_background
from backend.checkpoints.find_model import models_folder
from backend.checkpoints.model_folder import ModelFolder
from backend.checkpoints.weights import read_model
from backend.encoding.latent_encoders import LatentEncoder, StructureEncoder
from backend.encoding.view_features import averaged_features
from backend.errors import UserError
from backend.geometry.mesh_files import Asset, Entry
from backend.geometry.render import draw_cutout
from backend.geometry.scene import Scene, canonical_mesh, make_scene, turned_mesh
from backend.geometry.views import feature_views, picture_views, training_view
from backend.geometry.voxelize import voxelize
from backend.image import cut_out
from backend.models.dinov2 import load_image_encoder
from backend.training.data.records import Make, numbered
from backend.training.data.scene_encoder import SceneEncoder
from backend.training.dataset import surface_tints
from backend.training.starter.batches import look_batch
from backend.training.starter.looks import look_examples
from backend.training.starter.recipe import Recipe

PICTURE_ENCODER = "dinov2_vitl14_reg"
"""Whose features the published structured latent is made of, also in the text models."""
LARGEST = 32768
"""Voxels of the largest objects that the published models were trained on."""
CUTOUT_SIZE = 640
"""Of pictures in the published frame."""


@dataclass(frozen=True)
class CanonicalTargets:
    """For published models: the occupied voxels, and latents of DINOv2 features averaged over many views."""

    folder: ModelFolder
    device: torch.device
    seed: int
    count: int
    feature_views: int
    poses: int = 1

    def structures(self) -> Make:
        encoder = StructureEncoder(self.folder, self.device)

        def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
            return {"latents": encoder(surface_occupancy(asset, encoder.resolution))[None]}

        return make

    def latents(self) -> Make:
        name = self.folder.image_cond_model or PICTURE_ENCODER
        dinov2 = load_image_encoder(self.folder.path, name, (models_folder(),)).to(self.device)
        encoder = LatentEncoder(self.folder, self.device, dinov2.config.embed_dim)

        def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
            coords = voxelize(asset.vertices, asset.faces, encoder.resolution)
            if len(coords) > LARGEST:
                raise UserError(f"it takes {len(coords)} voxels, and models hold at most {LARGEST}.")
            views = feature_views(self.feature_views, _generator(self.seed, entry, "features"))
            item = canonical_mesh(asset)
            features = averaged_features(dinov2, item, coords, encoder.resolution, views)
            return {"coords.0": torch.from_numpy(coords), "latent.0": encoder(coords, features)}

        return make

    def pictures(self, entry: Entry, asset: Asset) -> Iterator[Image.Image]:
        item = canonical_mesh(asset)
        for view in picture_views(self.count, _generator(self.seed, entry, "pictures")):
            yield cut_out(draw_cutout(turned_mesh(item, view.azimuth), view, CUTOUT_SIZE), remove_background)


@dataclass(frozen=True)
class ViewAlignedTargets:
    """For the starter: the object in the frame of each picture, its latents from distances and colours."""

    folder: ModelFolder
    device: torch.device
    seed: int
    poses: int

    def structures(self) -> Make:
        encoder = SceneEncoder(self.folder, self.device)

        def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
            poses = []
            for scene, _ in self._scenes(entry, asset):
                tints, near = map(torch.from_numpy, surface_tints(scene, encoder.resolution))
                poses.append(encoder.structure(scene) | {"tints": tints, "near": near})
            return {name: torch.stack([pose[name] for pose in poses]) for name in poses[0]}

        return make

    def latents(self) -> Make:
        encoder = SceneEncoder(self.folder, self.device)

        def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
            made = [encoder.latent(scene, rng) for scene, rng in self._scenes(entry, asset)]
            coords, latents = zip(*made, strict=True)
            return numbered("coords", coords) | numbered("latent", latents)

        return make

    def looks(self, lifting: Path) -> Make:
        """Latents of solids' borders, and what an aligned flow is given of their voxels by that encoder."""
        encoder, module = SceneEncoder(self.folder, self.device), read_model(lifting).requires_grad_(False)
        recipe = replace(
            Recipe(),
            structure_resolution=encoder.structure_encoder.resolution,
            resolution=encoder.resolution,
            lifting=module.config,
        )

        def latents(coords: Tensor, features: Tensor) -> Tensor:
            return encoder.latent_encoder(coords.numpy(), features)

        def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
            made = look_examples(module, latents, look_batch(recipe, self._scenes(entry, asset)))
            return {
                name: one
                for kind, values in (
                    ("coords", made.coords),
                    ("latent", made.latents),
                    ("given", made.aligned),
                )
                for name, one in numbered(kind, values).items()
            }

        return make

    def pictures(self, entry: Entry, asset: Asset) -> Iterator[Image.Image]:
        for scene, _ in self._scenes(entry, asset):
            yield cut_out(draw_cutout(scene.mesh, scene.view), remove_background)

    def _scenes(self, entry: Entry, asset: Asset) -> Iterator[tuple[Scene, np.random.Generator]]:
        for number in range(self.poses):
            rng = _generator(self.seed, entry, f"pose {number}")
            yield make_scene(entry.name, asset, training_view(entry.name, rng)), rng


Targets = CanonicalTargets | ViewAlignedTargets


def surface_occupancy(asset: Asset, resolution: int) -> np.ndarray:
    """(R, R, R) bool: the voxels that the object's surface touches, in the published frame."""
    occupied = np.zeros((resolution,) * 3, bool)
    occupied[tuple(voxelize(asset.vertices, asset.faces, resolution).T)] = True
    return occupied


def _generator(seed: int, entry: Entry, purpose: str) -> np.random.Generator:
    """Random numbers that depend on these three alone."""
    return np.random.default_rng((seed, zlib.crc32(f"{entry.name} {purpose}".encode())))
