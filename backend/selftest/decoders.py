"""Goldens of the three structured-latent decoders and of what is built from their output."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from backend.pipeline import gaussian_config
from backend.representations.flexicubes import extract_mesh, training_mesh
from backend.representations.gaussians import GaussianConfig, RawGaussians, activate, covariance, read_ply, split_channels, write_ply
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import decode_radiance_field
from backend.selftest.golden import Golden, objects

Answers = Iterator[tuple[str, Tensor]]


def raw_gaussians(decoder: nn.Module, coords: Tensor, feats: Tensor) -> RawGaussians:
    """Attributes before their activations, of one object's latent feats (L, C) on coords (L, 3)."""
    raw = decoder(feats, decoder.structure(coords))
    return split_channels(coords, raw, gaussian_config(decoder), decoder.offset_perturbation)


def gaussian_decoder(golden: Golden) -> Answers:
    decoder, coords, feats = golden.model("slat_dec_gs"), golden["in/coords"], golden["in/feats"]
    parts = [decoder(feats[rows], decoder.structure(coords[rows, 1:])) for rows in objects(coords)]
    yield "mid/network_output", torch.cat(parts)
    yield "out/offset_perturbation", decoder.offset_perturbation
    for n, rows in enumerate(objects(coords)):
        raw = raw_gaussians(decoder, coords[rows, 1:], feats[rows])
        for name, value in gaussian_attributes(raw, gaussian_config(decoder)).items():
            yield f"out/{n}/{name}", value


def gaussian_attributes(raw: RawGaussians, config: GaussianConfig) -> dict[str, Tensor]:
    """The recorded attribute names; positions in the unit cube where they are raw, in object space where not."""
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
