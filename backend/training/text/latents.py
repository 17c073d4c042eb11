"""The structured latents and colours of every object, its front towards the camera, as it is and painted.

They are made once and kept in one file. L voxels of one object · T voxels of all.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from backend.files import atomic_path
from backend.geometry.mesh_files import Asset, Entry, load_asset
from backend.training.dataset import grown, voxel_features
from backend.training.starter.autoencoder_latent import coarse_occupancy
from backend.training.starter.colors import surface_tints
from backend.training.starter.latent_targets import LatentTargets
from backend.training.starter.recipe import Recipe
from backend.training.text.captions import COLORS, dominant_color, painted
from backend.training.text.store_key import store_key
from backend.training.text.structures import front_scene

log = logging.getLogger(__name__)
VARIANTS = 2  # of every object: as it is, and painted
_TENSORS = ("coords", "latents", "tints", "ends")


@dataclass(frozen=True)
class StoredLatents:
    """Of object n, variant v is number VARIANTS·n + v.

    coords (T, 3) u8 · latents (T, 8) f16, normalised · tints (T, 3) u8, colours of the surface · ends, one a
    number, in T · colors, their names.
    """

    coords: Tensor
    latents: Tensor
    tints: Tensor
    ends: Tensor
    colors: tuple[str, ...]

    def of(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """coords (L, 3) i32, latents (L, 8) f32 and tints (L, 3) u8."""
        low, high = (0 if number == 0 else int(self.ends[number - 1])), int(self.ends[number])
        return self.coords[low:high].int(), self.latents[low:high].float(), self.tints[low:high]


def stored_latents(
    entries: Sequence[Entry], recipe: Recipe, targets: LatentTargets, path: Path
) -> StoredLatents:
    """The latents of all entries, read from `path` where that file has them, else made."""
    key = store_key(_TENSORS, entries, targets.autoencoder.encoder)
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            words = file.metadata()
            if words["key"] == key:
                return StoredLatents(*map(file.get_tensor, _TENSORS), colors=tuple(words["colors"].split()))
    coords, latents, tints, colors = [], [], [], []
    for number, entry in enumerate(entries):
        if number % 250 == 0:
            log.info("structured latents: %d of %d", number, len(entries))
        for color, asset in _variants(entry, load_asset(entry.path)):
            places, codes, tint = _encoded(recipe, targets, entry, asset)
            coords.append(places.to(torch.uint8))
            latents.append(codes.to(torch.float16))
            tints.append(tint)
            colors.append(color)
    ends = torch.tensor([len(one) for one in coords]).cumsum(0)
    made = StoredLatents(torch.cat(coords), torch.cat(latents), torch.cat(tints), ends, tuple(colors))
    tensors = {name: getattr(made, name) for name in _TENSORS}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"key": key, "colors": " ".join(colors)})
    return made


def _variants(entry: Entry, asset: Asset) -> list[tuple[str, Asset]]:
    own, corners = dominant_color(asset)
    others = [color for color in COLORS if color != own]
    other = others[zlib.crc32(entry.name.encode()) % len(others)]
    return [(own, asset), (other, painted(asset, corners, other))]


def _encoded(
    recipe: Recipe, targets: LatentTargets, entry: Entry, asset: Asset
) -> tuple[Tensor, Tensor, Tensor]:
    """coords (L, 3) i32 of the structure, a little grown as generated ones are, latents (L, 8) and tints
    (L, 3) u8, the colour of the surface nearest to each.
    """
    scene = front_scene(entry.name, asset)
    rng = np.random.default_rng(zlib.crc32(entry.name.encode()))
    coords = np.argwhere(grown(coarse_occupancy(recipe, scene), rng)).astype(np.int32)
    features = torch.from_numpy(voxel_features(scene, coords, recipe.resolution))
    tints = torch.from_numpy(surface_tints(scene, recipe.resolution)[0][:, *coords.T].T.copy())
    places = torch.from_numpy(coords)
    with torch.autocast("cpu", torch.bfloat16):
        return places, targets(places, features), tints
