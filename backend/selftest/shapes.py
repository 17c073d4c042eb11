"""Goldens of mesh extraction and of the Gaussians' activations and files."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.representations.cube_grid import corner_grid, corner_mean, unlinear
from backend.representations.flexicubes import extract_mesh, training_mesh
from backend.representations.gaussians import (
    CHANNELS,
    GaussianConfig,
    RawGaussians,
    activate,
    read_ply,
    write_ply,
)
from backend.representations.glb import to_y_up
from backend.representations.mesh import Mesh, face_normals
from backend.selftest.decoders import gaussian_attributes, mesh_tensors
from backend.selftest.golden import Golden
from backend.selftest.pipelines import ply_files

Answers = Iterator[tuple[str, Tensor] | tuple[str, Tensor, Tensor]]

CORNER_CHANNELS = 32


def flexicubes(golden: Golden) -> Answers:
    """Every recorded case, in training mode where it was recorded so, and the averaging at shared corners."""
    for name, case in golden.sidecar["cases"].items():
        coords, feats, resolution = golden[f"{name}/coords"][:, 1:], golden[f"{name}/feats"], case["res"]
        if case["training"]:
            trained = training_mesh(coords, feats, resolution)
            mesh = trained.mesh
            yield f"{name}/tsdf_v", trained.tsdf_v
            yield f"{name}/tsdf_s", trained.tsdf_s
            yield f"{name} reg_loss", trained.reg_loss, torch.tensor(case["reg_loss"])
        else:
            mesh = extract_mesh(coords, feats, resolution, close_border=False)
        for part, value in mesh_tensors(mesh).items():
            yield f"{name}/{part}", value
        # Of the recorded mesh: in a sliver the last bits of the vertices turn the normal visibly.
        same = Mesh(golden[f"{name}/vertices"], golden[f"{name}/faces"].long())
        yield f"{name}/face_normal", face_normals(same)[:, None].expand(-1, 3, -1)
    if "cube2verts/feats" in golden.tensors:
        yield from _shared_corners(golden)


def _shared_corners(golden: Golden) -> Answers:
    resolution = golden.sidecar["cases"]["random"]["res"]
    grid = corner_grid(golden["random/coords"][:, 1:], resolution)
    values = golden["random/feats"][:, :CORNER_CHANNELS].unflatten(1, (8, 4))
    mean = corner_mean([values], grid.index, len(grid.keys))
    yield "cube2verts/verts", unlinear(grid.keys, resolution + 1).int()
    yield "cube2verts/feats", mean
    spread = (values - mean[grid.index]).square().mean()
    yield "cube2verts consistency loss", spread, torch.tensor(golden.sidecar["cube2verts_consistency_loss"])


def gaussian_ply(golden: Golden) -> Answers:
    """Activations, both files, reading back, and the frame of .glb files."""
    for name, params in golden.sidecar["init_params"].items():
        config = gaussian_config_of(params)
        raw = RawGaussians(
            golden[f"{name}/_xyz"],
            golden[f"{name}/_features_dc"][:, 0],
            golden[f"{name}/_scaling"],
            golden[f"{name}/_rotation"],
            golden[f"{name}/_opacity"],
        )
        for attribute, value in gaussian_attributes(raw, config).items():
            if f"{name}/{attribute}" in golden.tensors:
                yield f"{name}/{attribute}", value
        yield f"{name}/scale_bias", torch.tensor(config.scale_shift, dtype=torch.float32)
        yield f"{name}/opacity_bias", torch.tensor(config.opacity_shift, dtype=torch.float32)
        yield from ply_files(golden.folder / name, activate(raw, config))
        yield from _reloaded(golden, name, config)
    yield "glb/vertices_out", to_y_up(golden["glb/vertices_in"]).double()


def gaussian_config_of(params: dict[str, Any]) -> GaussianConfig:
    """The recorded constructor words of the representation."""
    return GaussianConfig(
        resolution=64,
        lr={name: 1.0 for name, _ in CHANNELS},
        filter_kernel_size_3d=params["mininum_kernel_size"],
        scaling_bias=params["scaling_bias"],
        opacity_bias=params["opacity_bias"],
        scaling_activation=params["scaling_activation"],
    )


def _reloaded(golden: Golden, name: str, config: GaussianConfig) -> Answers:
    """Reading a file gives the splats again; the recorded raw values follow by undoing the activations."""
    splats = read_ply(golden.folder / f"{name}_notransform.ply", transform=None)
    narrow = (splats.scale.square() - config.filter_kernel_size_3d**2).sqrt()
    inverse = narrow.log() if config.scaling_activation == "exp" else narrow + (-(-narrow).expm1()).log()
    yield f"{name}/reloaded_notransform/_xyz", splats.position + 0.5
    yield f"{name}/reloaded_notransform/_features_dc", splats.color_dc[:, None]
    yield f"{name}/reloaded_notransform/_scaling", inverse - config.scale_shift
    yield f"{name}/reloaded_notransform/_opacity", torch.logit(splats.opacity) - config.opacity_shift
    with tempfile.TemporaryDirectory() as folder:
        turned = read_ply(golden.folder / f"{name}.ply")
        write_ply(Path(folder) / "again.ply", turned)
        again = read_ply(Path(folder) / "again.ply")
    yield f"{name} turned and turned back", turned.position, splats.position
    yield f"{name} written again", again.scale, turned.scale
