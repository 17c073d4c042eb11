"""What a model should make of an object, and the pictures it should make that from.

Published models keep an object in its own frame, so all its pictures share one pose; the starter turns it to
each picture, so every picture has a pose of its own. L voxels · C channels · r resolution.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.background import remove_background
from backend.checkpoints import read_model
from backend.errors import UserError
from backend.image import preprocess
from backend.model_folder import ModelFolder, models_folder
from backend.models.dinov2 import DinoV2, load_image_encoder
from backend.training.assets import Asset, Entry
from backend.training.canonical_features import averaged_features
from backend.training.canonical_views import canonical_object, draw_cutout, feature_views, picture_views
from backend.training.dataset import (
    FEATURES,
    Scene,
    grown,
    make_scene,
    occupancy,
    pooled_occupancy,
    voxel_features,
)
from backend.training.fine_tune_encoders import (
    Checkpoint,
    latent_encoder,
    structure_encoder,
    structure_resolution,
)
from backend.training.render import cutout, render
from backend.training.views import training_view
from backend.voxelize import voxelize

PICTURE_ENCODER = "dinov2_vitl14_reg"
"""Whose features the published structured latent is made of, also in the text models."""
LARGEST = 32768
"""Voxels of the largest objects that the published models were trained on."""
CUTOUT_SIZE, CUTOUT_MARGIN = 512, 1.3


class Targets(Protocol):
    """An object's poses, and pictures of it; picture k shows pose k modulo the number of poses."""

    poses: int

    def structure_latents(self, entry: Entry, asset: Asset) -> Iterator[Tensor]:
        """One (C, r, r, r) f32 a pose."""

    def latents(self, entry: Entry, asset: Asset) -> Iterator[tuple[Tensor, Tensor]]:
        """One pair a pose: voxels (L, 3) i32 and their normalised latent (L, C) f32."""

    def pictures(self, entry: Entry, asset: Asset) -> Iterator[Image.Image]:
        """Preprocessed pictures, as every picture reaches the image encoder."""


@dataclass
class _Encoders:
    """The folder's encoders on one device, read when first wanted."""

    folder: ModelFolder
    device: torch.device

    @cached_property
    def resolution(self) -> int:
        """Of the structured latent."""
        return self.latent.config.resolution

    @cached_property
    def structure_resolution(self) -> int:
        return structure_resolution(self.folder)

    @cached_property
    def structure(self) -> torch.nn.Module:
        return self._read(structure_encoder(self.folder))

    @cached_property
    def latent(self) -> torch.nn.Module:
        return self._read(latent_encoder(self.folder))

    @torch.inference_mode()
    def encode_structure(self, occupied: np.ndarray) -> Tensor:
        """(R, R, R) bool -> (C, r, r, r): the posterior's mean."""
        volume = torch.from_numpy(occupied).float()[None, None].to(self.device)
        return self.structure(volume)[0][0].float().cpu()

    @torch.inference_mode()
    def encode_latent(self, coords: np.ndarray, features: Tensor) -> tuple[Tensor, Tensor]:
        """Voxels (L, 3) and features (L, C_in) -> the voxels and the normalised posterior's mean (L, C)."""
        places = torch.from_numpy(coords.astype(np.int32))
        table = self.latent.structure(places.to(self.device))
        raw = self.latent(features.float().to(self.device), table)[0].float().cpu()
        mean, std = (torch.tensor(values) for values in self.folder.slat_normalization)
        return places, (raw - mean) / std

    def check_features(self, channels: int, what: str) -> None:
        if self.latent.config.in_channels != channels:
            raise UserError(
                f"The latent encoder of {self.folder.name} reads {self.latent.config.in_channels} features"
                f" and {what} gives {channels}; get the encoder that belongs to this model."
            )

    def _read(self, checkpoint: Checkpoint) -> torch.nn.Module:
        return read_model(checkpoint.path, torch.float32, self.device).requires_grad_(False)


class CanonicalTargets:
    """For published models: occupancy of the surface, latents of DINOv2 features averaged over many views."""

    poses = 1

    def __init__(
        self, folder: ModelFolder, device: torch.device, pictures: int, feature_views: int, seed: int
    ) -> None:
        self._encoders = _Encoders(folder, device)
        self._folder = folder
        self._pictures = pictures
        self._feature_views = feature_views
        self._seed = seed

    def structure_latents(self, entry: Entry, asset: Asset) -> Iterator[Tensor]:
        yield self._encoders.encode_structure(self._occupancy(asset))

    def latents(self, entry: Entry, asset: Asset) -> Iterator[tuple[Tensor, Tensor]]:
        encoders, resolution = self._encoders, self._encoders.resolution
        encoders.check_features(self._picture_encoder.config.embed_dim, PICTURE_ENCODER)
        coords = np.argwhere(pooled_occupancy(self._occupancy(asset), resolution))
        if len(coords) > LARGEST:
            raise UserError(f"{entry.name} takes {len(coords)} voxels; the models hold at most {LARGEST}.")
        views = feature_views(self._feature_views, _generator(self._seed, entry, "features"))
        item = canonical_object(asset)
        yield encoders.encode_latent(
            coords, averaged_features(self._picture_encoder, item, coords, resolution, views)
        )

    def pictures(self, entry: Entry, asset: Asset) -> Iterator[Image.Image]:
        item = canonical_object(asset)
        for view in picture_views(self._pictures, _generator(self._seed, entry, "pictures")):
            yield preprocess(draw_cutout(item, view), remove_background)

    def _occupancy(self, asset: Asset) -> np.ndarray:
        size = self._encoders.structure_resolution
        occupied = np.zeros((size,) * 3, bool)
        occupied[tuple(voxelize(asset.vertices, asset.faces, size).T)] = True
        return occupied

    @cached_property
    def _picture_encoder(self) -> DinoV2:
        name = self._folder.image_cond_model or PICTURE_ENCODER
        encoder = load_image_encoder(self._folder.path, name, (models_folder(),))
        return encoder.to(self._encoders.device)


class ViewAlignedTargets:
    """For the starter: the object in the frame of each picture, its latents from distances and colours."""

    def __init__(self, folder: ModelFolder, device: torch.device, pictures: int, seed: int) -> None:
        self.poses = pictures
        self._encoders = _Encoders(folder, device)
        self._seed = seed

    def structure_latents(self, entry: Entry, asset: Asset) -> Iterator[Tensor]:
        for scene, _ in self._scenes(entry, asset):
            yield self._encoders.encode_structure(occupancy(scene, self._encoders.structure_resolution))

    def latents(self, entry: Entry, asset: Asset) -> Iterator[tuple[Tensor, Tensor]]:
        encoders, resolution = self._encoders, self._encoders.resolution
        encoders.check_features(FEATURES, "the training data")
        for scene, rng in self._scenes(entry, asset):
            occupied = pooled_occupancy(occupancy(scene, encoders.structure_resolution), resolution)
            coords = np.argwhere(grown(occupied, rng)).astype(np.int32)
            features = torch.from_numpy(voxel_features(scene, coords, resolution))
            yield encoders.encode_latent(coords, features)

    def pictures(self, entry: Entry, asset: Asset) -> Iterator[Image.Image]:
        for scene, _ in self._scenes(entry, asset):
            drawn = render(
                scene.upright,
                scene.faces,
                scene.corner_colors,
                scene.smooth,
                scene.view,
                CUTOUT_SIZE,
                CUTOUT_MARGIN,
            )
            yield preprocess(cutout(drawn), remove_background)

    def _scenes(self, entry: Entry, asset: Asset) -> Iterator[tuple[Scene, np.random.Generator]]:
        for number in range(self.poses):
            rng = _generator(self._seed, entry, f"pose {number}")
            yield make_scene(entry.name, asset, training_view(entry.name, rng)), rng


def _generator(seed: int, entry: Entry, purpose: str) -> np.random.Generator:
    """Random numbers that depend on these three alone."""
    return np.random.default_rng((seed, zlib.crc32(f"{entry.name} {purpose}".encode())))
