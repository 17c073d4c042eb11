"""Goldens of the three structured-latent decoders and of what is built from their output."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from backend.representations.flexicubes import extract_mesh
from backend.representations.gaussians import (
    GaussianConfig,
    RawGaussians,
    activate,
    covariance,
    split_channels,
)
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import decode_radiance_field
from backend.selftest.golden import Golden, objects
from backend.trellis.decoding import gaussian_config, radiance_field_config

Answers = Iterator[tuple[str, Tensor]]


def raw_gaussians(decoder: nn.Module, coords: Tensor, feats: Tensor) -> RawGaussians:
    """Attributes before their activations, of one object's latent feats (L, C) on coords (L, 3)."""
    raw = decoder(feats, decoder.structure(coords))
    return split_channels(coords, raw, gaussian_config(decoder), decoder.offset_perturbation)


def gaussian_decoder(golden: Golden) -> Answers:
    decoder, coords, feats = golden.model("slat_dec_gs"), golden["in/coords"], golden["in/feats"]
    parts = [decoder(feats[rows], decoder.structure(coords[rows, 1:])) for rows in objects(coords)]
    yield "mid/network_output", torch.cat(parts)
    yield "out/offset_perturbation", decoder.get_buffer("offset_perturbation")
    config = gaussian_config(decoder)
    for n, (rows, part) in enumerate(zip(objects(coords), parts, strict=True)):
        raw = split_channels(coords[rows, 1:], part, config, decoder.offset_perturbation)
        for name, value in gaussian_attributes(raw, config).items():
            yield f"out/{n}/{name}", value


def gaussian_attributes(raw: RawGaussians, config: GaussianConfig) -> dict[str, Tensor]:
    """By recorded name; raw positions are in the unit cube [0, 1]³, active ones in object space."""
    active = activate(raw, config)
    return {
        "_xyz": raw.xyz,
        "_features_dc": raw.features_dc[:, None],
        "_scaling": raw.scaling,
        "_rotation": raw.rotation,
        "_opacity": raw.opacity,
        "get_xyz": active.position,
        "get_features": active.color_dc[:, None],
        "get_scaling": active.scale,
        "get_rotation": nn.functional.normalize(active.rotation, dim=-1),
        "get_opacity": active.opacity,
        "get_covariance": covariance(active),
    }


def radiance_field_decoder(golden: Golden) -> Answers:
    decoder, coords, feats = golden.model("slat_dec_rf"), golden["in/coords"], golden["in/feats"]
    parts = [decoder(feats[rows], decoder.structure(coords[rows, 1:])) for rows in objects(coords)]
    yield "mid/network_output", torch.cat(parts)
    for n, (rows, raw) in enumerate(zip(objects(coords), parts, strict=True)):
        field = decode_radiance_field(coords[rows, 1:], raw, radiance_field_config(decoder))
        for name in ("position", "depth", "trivec", "density", "features_dc"):
            yield f"out/{n}/{name}", getattr(field, name)
        yield f"out/{n}/aabb", torch.tensor([-0.5, -0.5, -0.5, 1.0, 1.0, 1.0])


def mesh_decoder(golden: Golden) -> Answers:
    decoder, coords, feats = golden.model("slat_dec_mesh"), golden["in/coords"], golden["in/feats"]
    parts = [decoder(feats[rows], decoder.structure(coords[rows, 1:])) for rows in objects(coords)]
    fine = [torch.nn.functional.pad(part[0], (1, 0), value=n) for n, part in enumerate(parts)]
    yield "mid/network_output", torch.cat([part[1] for part in parts])
    yield "mid/network_output_coords", torch.cat(fine).int()
    for n, (fine_coords, raw) in enumerate(parts):
        mesh = extract_mesh(fine_coords, raw, 4 * decoder.config.resolution, close_border=False)
        for name, value in mesh_tensors(mesh).items():
            if f"out/{n}/{name}" in golden.tensors:
                yield f"out/{n}/{name}", value


def mesh_tensors(mesh: Mesh) -> dict[str, Tensor]:
    """The recorded names of a mesh's parts; attributes only where the mesh has colours."""
    tensors = {"vertices": mesh.vertices, "faces": mesh.faces.int()}
    if mesh.colors is not None and mesh.normals is not None:
        tensors["vertex_attrs"] = torch.cat([mesh.colors, mesh.normals], dim=1)
    return tensors
