"""The published way to a texture, for comparison only: optimise all texels until renders of the mesh look
like renders of its Gaussians (arXiv 2412.01506, appendix: 100 views, 2,500 steps).

S texture size · Z size of a view · N views.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from backend.geometry.render import focal_length
from backend.geometry.splat_render import Splats
from backend.geometry.views import feature_views
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh
from backend.texturing.camera import Camera
from backend.texturing.preview import render_texture, uv_seen
from backend.texturing.settings import TextureSettings
from backend.texturing.splat_views import drawn
from backend.texturing.texture import texture_mesh

VIEWS, VIEW_SIZE, JUDGED = 100, 512, 8
_RATE, _LAST_RATE, _SMOOTHNESS = 0.1, 0.01, 0.01
_SEEN = 0.05  # less light than this comes through what counts as covered


@dataclass(frozen=True)
class Result:
    """seconds it took to unwrap and bake · psnr: mean over views that nothing was optimised on, in dB."""

    seconds: float
    psnr: float


def compare(
    mesh: Mesh,
    gaussians: Gaussians,
    settings: TextureSettings,
    steps: int,
    views: int = VIEWS,
    size: int = VIEW_SIZE,
) -> dict[str, Result]:
    """Both ways on one mesh, judged on views of the Gaussians that neither has seen."""
    began = time.perf_counter()
    baked = texture_mesh(mesh, settings, gaussians)
    took = time.perf_counter() - began
    judged = list(_shots(gaussians, JUDGED, size, seed=1))
    results = {"baked": Result(took, likeness(baked, judged))}
    began = time.perf_counter()
    unwrapped = texture_mesh(mesh, settings)
    optimised = optimise(unwrapped, list(_shots(gaussians, views, size, seed=0)), steps)
    took = time.perf_counter() - began
    return results | {"optimised": Result(took, likeness(optimised, judged))}


Shot = tuple[Camera, np.ndarray]
"""A camera and what it sees of the Gaussians, (Z, Z, 4) f32: their colour, and how far they cover it."""


def optimise(mesh: TexturedMesh, shots: list[Shot], steps: int) -> TexturedMesh:
    """The mesh with the texture that makes it look most like the shots, smooth where they say nothing."""
    side = mesh.image.shape[0]
    texture = torch.full((1, 3, side, side), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([texture], lr=_RATE, betas=(0.5, 0.9))
    seen = [_targets(mesh, *shot) for shot in shots]
    order = np.random.default_rng(0).integers(len(seen), size=steps)
    for step, number in enumerate(order):
        grid, wanted = seen[number]
        for group in optimiser.param_groups:
            share = 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = _LAST_RATE + (_RATE - _LAST_RATE) * share
        optimiser.zero_grad()
        drawn = F.grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)
        rough = (texture[..., 1:, :] - texture[..., :-1, :]).abs().mean()
        rough = rough + (texture[..., 1:] - texture[..., :-1]).abs().mean()
        (F.l1_loss(drawn[0, :, 0].T, wanted) + _SMOOTHNESS * rough).backward()
        optimiser.step()
    image = (texture.detach()[0].clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return replace(mesh, image=image)


def likeness(mesh: TexturedMesh, shots: list[Shot]) -> float:
    """Mean PSNR in dB of renders of the mesh against the shots, where both show the object."""
    scores = []
    for camera, wanted in shots:
        drawn = render_texture(mesh, camera, len(wanted))
        common = (drawn[..., 3] > 0.99) & (wanted[..., 3] > 1 - _SEEN)
        if common.any():
            error = np.mean((drawn[..., :3][common] - wanted[..., :3][common]) ** 2)
            scores.append(-10 * math.log10(max(float(error), 1e-10)))
    return float(np.mean(scores)) if scores else 0.0


def _targets(mesh: TexturedMesh, camera: Camera, wanted: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the seen pixels read the texture, as `grid_sample` has it, and their colours (P, 3)."""
    place, uv = uv_seen(mesh, camera, len(wanted))
    colors = wanted.reshape(-1, 4)[place]
    covered = colors[:, 3] > 1 - _SEEN
    grid = np.stack([uv[covered, 0] * 2 - 1, 1 - uv[covered, 1] * 2], axis=1).astype(np.float32)
    return torch.from_numpy(grid)[None, None], torch.from_numpy(colors[covered, :3])


def _shots(gaussians: Gaussians, count: int, size: int, seed: int) -> Iterator[Shot]:
    splats = Splats.of(gaussians)
    for view in feature_views(count, np.random.default_rng(seed)):
        camera = Camera(view.azimuth, view.elevation, view.distance, focal_length(view))
        seen = drawn(splats, camera, size)
        yield (
            camera,
            np.concatenate([seen[..., :3] / np.maximum(seen[..., 3:4], 1e-3), seen[..., 3:4]], axis=-1),
        )
