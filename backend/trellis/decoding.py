"""Latents -> what they stand for: occupied voxels, meshes, Gaussians, radiance fields (paper section 3.2).

The one place where networks and representations meet. `report` is called between the layers of a network and
between the blocks of mesh extraction, and may raise to stop.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backend.errors import UserError
from backend.representations.flexicubes import extract_mesh
from backend.representations.gaussians import GaussianConfig, Gaussians, decode_gaussians
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField, RadianceFieldConfig, decode_radiance_field
from backend.representations.structure import occupied_voxels
from backend.trellis.networks import Networks
from blender_trellis.protocol import Format, Stage

Report = Callable[[Stage, int, int], None]
"""Told of a stage, what is done of it and how much there is; may raise to stop."""

_REPORTS = 20
"""How often a network reports its progress."""


class EmptyStructure(UserError):
    """The structure has no occupied voxel, so that nothing can be made of it."""

    def __init__(self) -> None:
        super().__init__(
            "The model found no shape; try another seed or more steps, or give a picture that shows one whole"
            " object, or other words."
        )


@dataclass(frozen=True)
class Voxels:
    """The sparse structure: occupied voxels coords (L, 3) int32, sorted, of a grid of `resolution`³.

    occupied: (R, R, R) bool at the resolution of the structure decoder, of which the coords are pooled where
    the structured latent is coarser.
    """

    coords: Tensor
    resolution: int
    occupied: Tensor


@dataclass(frozen=True)
class StructuredLatent:
    """Latents feats (L, C), de-normalised, on the voxels coords (L, 3) of a grid of `resolution`³."""

    coords: Tensor
    feats: Tensor
    resolution: int


def silent(stage: Stage, done: int, of: int) -> None:
    """A report that nobody hears."""


@torch.inference_mode()
def decode_structure(networks: Networks, latent: Tensor, report: Report = silent) -> Voxels:
    """The voxels of a structure latent (1, C, r, r, r): where the decoder's logit is above 0."""
    resolution = networks["slat_flow_model"].config.resolution
    decoder = networks["sparse_structure_decoder"]
    with _reporting(decoder, "decode_sparse_structure", report):
        logits = decoder(latent)[0, 0]
    return Voxels(occupied_voxels(logits, resolution).int(), resolution, logits > 0)


@torch.inference_mode()
def decode_mesh(networks: Networks, latent: StructuredLatent, report: Report = silent) -> Mesh:
    """The surface in the decoder's cubes, which are four times finer than the voxels, by FlexiCubes."""
    cubes, features = _decode(networks, "slat_decoder_mesh", latent, "decode_mesh", report)
    report("extract_mesh", 0, 1)
    return extract_mesh(cubes, features, 4 * latent.resolution)


@torch.inference_mode()
def decode_splats(networks: Networks, latent: StructuredLatent, report: Report = silent) -> Gaussians:
    """The 3D Gaussians of the latent."""
    raw = _decode(networks, "slat_decoder_gs", latent, "decode_gaussian", report)
    decoder = networks["slat_decoder_gs"]
    return decode_gaussians(latent.coords, raw, gaussian_config(decoder), decoder.offset_perturbation)


@torch.inference_mode()
def decode_field(networks: Networks, latent: StructuredLatent, report: Report = silent) -> RadianceField:
    """The tri-vector radiance field of the latent."""
    raw = _decode(networks, "slat_decoder_rf", latent, "decode_radiance_field", report)
    return decode_radiance_field(latent.coords, raw, radiance_field_config(networks["slat_decoder_rf"]))


def gaussian_config(decoder: nn.Module) -> GaussianConfig:
    """How the raw numbers of a Gaussian decoder become Gaussians."""
    return GaussianConfig.from_json(decoder.config.representation_config, decoder.config.resolution)


def radiance_field_config(decoder: nn.Module) -> RadianceFieldConfig:
    """How the raw numbers of a radiance-field decoder become a field."""
    return RadianceFieldConfig.from_json(decoder.config.representation_config, decoder.config.resolution)


DECODERS: dict[Format, Callable[[Networks, StructuredLatent, Report], Any]] = {
    "gaussian": decode_splats,  # first: they are quick, and the mesh is what takes time
    "radiance_field": decode_field,
    "mesh": decode_mesh,
}
"""How each format is made of a structured latent, in the order in which they are made."""


@contextlib.contextmanager
def before_each_layer(network: nn.Module, call: Callable[[], None]) -> Iterator[None]:
    """While it lasts, `call` is made before each layer of the network; what it raises stops the network."""
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: call()) for layer in _layers(network)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _decode(networks: Networks, role: str, latent: StructuredLatent, stage: Stage, report: Report) -> Any:
    decoder = networks[role]
    with _reporting(decoder, stage, report):
        return decoder(latent.feats, decoder.structure(latent.coords))


def _reporting(network: nn.Module, stage: Stage, report: Report) -> contextlib.AbstractContextManager[None]:
    """Reports before each layer of the coming pass what share of the layers is done."""
    count, done = len(_layers(network)), itertools.count()
    return before_each_layer(
        network, lambda: report(stage, min(_REPORTS - 1, _REPORTS * next(done) // count), _REPORTS)
    )


def _layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if not any(True for _ in layer.children())]
