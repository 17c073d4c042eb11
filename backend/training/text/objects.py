"""Every object once, its front towards the camera, as it is and painted: what sentences should become.

N objects · L voxels of one · R, r resolutions of the structure and of its latent.
"""

import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backend.checkpoints.model_folder import ModelFolder
from backend.encoding.latent_encoders import latent_encoder, structure_encoder, weights_of
from backend.geometry.mesh_files import Asset, Entry
from backend.geometry.scene import make_scene
from backend.geometry.views import fixed_view
from backend.training.data.records import Make, Records, digest
from backend.training.data.scene_encoder import SceneEncoder
from backend.training.dataset import surface_tints
from backend.training.distributed import ALONE, World
from backend.training.text.captions import COLORS, dominant_color, painted

log = logging.getLogger(__name__)

VARIANTS = 2  # of every object: as it is, and painted
FRONT = fixed_view(0.0, math.radians(15), math.radians(38))
_NAMES = list(COLORS)


@dataclass(frozen=True)
class Objects:
    """packed (N, R³ / 8) u8, bits of the surface · records of the rest, `structures` and `latents` below."""

    entries: tuple[Entry, ...]
    packed: Tensor
    records: Records

    def structures(self, numbers: Sequence[int], *names: str) -> list[Tensor]:
        """Of these objects "latents" (B, C, r, r, r) f16, or "packed_solid" (B, R³ / 8) u8."""
        rows = zip(*(self.records.read(self.entries[number], *names) for number in numbers), strict=True)
        return [torch.stack(one) for one in rows]

    def latents(self, number: int, variant: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of a variant of an object coords (L, 3) i32, latents (L, 8) f16 and tints (L, 3) u8."""
        coords, latents, tints = self.records.read(
            self.entries[number], *(f"{name}.{variant}" for name in ("coords", "latent", "tints"))
        )
        return coords, latents, tints

    def color(self, number: int, variant: int) -> str:
        """The name of the variant's colour."""
        return _NAMES[int(self.records.row(self.entries[number], "colors", variant))]


def prepare_objects(
    entries: Sequence[Entry],
    starter: ModelFolder,
    folder: Path,
    device: torch.device,
    until: float = math.inf,
    world: World = ALONE,
) -> Objects:
    """The objects as the starter's encoders have them; made where `folder` does not hold them yet.

    OutOfTime when time.monotonic() says `until`; broken meshes are left out.
    """
    weights = weights_of(structure_encoder(starter)), weights_of(latent_encoder(starter))
    normalization = starter.slat_normalization
    origin = {"encoders": [digest(path) for path in weights], "normalization": list(normalization)}
    records = Records(folder, "front", origin)
    kept = records.prepare(entries, lambda: _maker(SceneEncoder(starter, device)), until, world)
    return Objects(kept, torch.stack([records.read(entry, "packed")[0] for entry in kept]), records)


def _maker(encoder: SceneEncoder) -> Make:
    def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
        own, corners = dominant_color(asset)
        others = [color for color in COLORS if color != own]
        other = others[zlib.crc32(entry.name.encode()) % len(others)]
        record = encoder.structure(make_scene(entry.name, asset, FRONT))
        record["latents"] = record["latents"].half()
        record["colors"] = torch.tensor([_NAMES.index(own), _NAMES.index(other)], dtype=torch.uint8)
        for number, variant in enumerate((asset, painted(asset, corners, other))):
            scene = make_scene(entry.name, variant, FRONT)
            coords, latent = encoder.latent(scene, np.random.default_rng(zlib.crc32(entry.name.encode())))
            tints, _ = surface_tints(scene, encoder.resolution)
            record[f"coords.{number}"], record[f"latent.{number}"] = coords, latent.half()
            record[f"tints.{number}"] = torch.from_numpy(tints[:, *coords.T.numpy()].T.copy())
        return record

    return make
