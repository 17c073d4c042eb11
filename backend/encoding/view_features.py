"""What the published structured-latent encoder reads: DINOv2 tokens of many views, averaged on the voxels.

Every voxel is projected into every view, whether it is visible or not (paper section 3.1). L voxels ·
C channels · S picture size · R resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.geometry.mesh_files import Asset
from backend.geometry.render import focal_length, project, render_whole
from backend.geometry.scene import turned_mesh
from backend.geometry.views import View, turned
from backend.models.dinov2 import MEAN, STD, DinoV2

AT_ONCE = 8  # views that go through the encoder together


@torch.inference_mode()
def averaged_features(
    encoder: DinoV2,
    item: Asset,
    coords: np.ndarray,
    resolution: int,
    views: list[View],
    seen: Callable[[int], None] = lambda views: None,
) -> Tensor:
    """Features (L, C) f32 of the voxels coords (L, 3), on the encoder's device.

    `seen` is told before each pass how many of the views are done, and may raise to stop.
    """
    device = next(encoder.parameters()).device
    centres = (coords + 0.5) / resolution - 0.5
    total = torch.zeros(len(coords), encoder.config.embed_dim, device=device)
    for number, (some, pixels) in enumerate(_drawn(item, views, encoder.config.img_size)):
        seen(number * AT_ONCE)
        places = np.stack([voxel_places(centres, view) for view in some])
        maps = patch_maps(encoder, pixels.to(device))
        total += sampled(maps, torch.from_numpy(places).float().to(device)).sum(0)
    return total / len(views)


def voxel_places(centres: np.ndarray, view: View) -> np.ndarray:
    """Where points (L, 3) fall in the view's picture: (L, 2) column and row, −1 and 1 at its edges."""
    return project(turned(centres, view.azimuth), view)[:, :2] * focal_length(view) * 2


def patch_maps(encoder: DinoV2, pixels: Tensor) -> Tensor:
    """Pixels (B, 3, S, S) in [0, 1] on black -> patch tokens before the final norm (B, C, S / 14, S / 14)."""
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    tokens = encoder.prenorm((pixels - mean) / std)[:, 1 + encoder.config.num_register_tokens :]
    side = pixels.shape[-1] // encoder.config.patch_size
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """maps (B, C, h, w) at places (B, L, 2) -> (B, L, C), zero outside the picture."""
    values = F.grid_sample(maps, places[:, None], "bilinear", "zeros", align_corners=False)
    return values[:, :, 0].transpose(1, 2)


def _drawn(item: Asset, views: list[View], size: int) -> Iterator[tuple[list[View], Tensor]]:
    """Views with their pixels, some at a time; the next are drawn while the encoder works on these."""

    def draw(view: View) -> Tensor:
        return torch.from_numpy(render_whole(turned_mesh(item, view.azimuth), view, size).color).permute(
            2, 0, 1
        )

    groups = [views[start : start + AT_ONCE] for start in range(0, len(views), AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        upcoming = [pool.submit(draw, view) for view in groups[0]]
        for number, group in enumerate(groups):
            pixels = torch.stack([one.result() for one in upcoming])
            following = groups[number + 1] if number + 1 < len(groups) else []
            upcoming = [pool.submit(draw, view) for view in following]
            yield group, pixels
