"""Every object once, its front towards the camera: what a sentence about it should become.

Structures and their latents do not change while text parts learn, so they are made once and kept in one file.
N objects · R, r resolutions of the structure and of its latent.
"""

from __future__ import annotations

import logging
import math
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
from backend.geometry.views import fixed_view
from backend.training.dataset import Scene, make_scene, occupancy, solid
from backend.training.encoders import unpacked
from backend.training.starter.autoencoder_structure import StructureAutoencoder
from backend.training.text.store_key import store_key

log = logging.getLogger(__name__)

_TENSORS = ("packed", "packed_solid", "latents")
_PIECE = 250  # objects between two writings of the file
FRONT = fixed_view(0.0, math.radians(15), math.radians(38))


@dataclass(frozen=True)
class Structures:
    """packed, packed_solid (N, R³ / 8) u8, bits of surface and solid · latents (N, C, r, r, r) f16."""

    packed: Tensor
    packed_solid: Tensor
    latents: Tensor
    resolution: int

    def occupied(self, numbers: Sequence[int]) -> Tensor:
        """The surface's voxels of these objects: (B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed[list(numbers)])


def front_scene(name: str, asset: Asset) -> Scene:
    """The object as sentences mean it: not turned, not mirrored, seen a little from above."""
    return make_scene(name, asset, FRONT)


def structures(
    entries: Sequence[Entry], autoencoder: StructureAutoencoder, resolution: int, path: Path
) -> Structures:
    """The structures of all entries; made where the file `path` does not have them yet, and kept there.

    The file is written as it grows, so that a run that is stopped goes on.
    """
    key = store_key(_TENSORS, entries, autoencoder.encoder)
    made = _read(path, key, resolution)
    while made is None or len(made.packed) < len(entries):
        done = 0 if made is None else len(made.packed)
        log.info("structures: %d of %d", done, len(entries))
        more = _make(entries[done : done + _PIECE], autoencoder, resolution)
        made = more if made is None else _joined(made, more)
        tensors = {name: getattr(made, name) for name in _TENSORS}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"key": key})
    return made


def _read(path: Path, key: str, resolution: int) -> Structures | None:
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        if file.metadata()["key"] != key:
            return None
        return Structures(*map(file.get_tensor, _TENSORS), resolution=resolution)


def _make(entries: Sequence[Entry], autoencoder: StructureAutoencoder, resolution: int) -> Structures:
    packed, packed_solid, latents = [], [], []
    for entry in entries:
        occupied = occupancy(front_scene(entry.name, load_asset(entry.path)), resolution)
        packed.append(torch.from_numpy(np.packbits(occupied)))
        packed_solid.append(torch.from_numpy(np.packbits(solid(occupied))))
        volume = torch.from_numpy(occupied).float()[None, None]
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(autoencoder.encode(volume)[0].to(torch.float16))
    columns = packed, packed_solid, latents
    return Structures(*(torch.stack(column) for column in columns), resolution=resolution)


def _joined(one: Structures, other: Structures) -> Structures:
    tensors = (torch.cat([getattr(one, name), getattr(other, name)]) for name in _TENSORS)
    return Structures(*tensors, resolution=one.resolution)
