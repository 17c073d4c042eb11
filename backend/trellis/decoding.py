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
from backend.layers.sparse import subdivide_coords
from backend.lifting.outline import Outline
from backend.lifting.outlined import outlined_distances, outlined_gaussians
from backend.lifting.solid import SolidGuess
from backend.lifting.solid_cubes import (
    corner_distances,
    enclosed_voxels,
    smoothed,
    with_inside,
    with_solid_signs,
)
from backend.representations.flexicubes import extract_mesh
from backend.representations.gaussians import GaussianConfig, Gaussians, decode_gaussians
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField, RadianceFieldConfig, decode_radiance_field
from backend.representations.structure import occupied_voxels
from backend.trellis.finite import require_finite
from backend.trellis.networks import Networks
from backend.trellis.residency import mesh_working_bytes
from blender_trellis.protocol import FORMATS, Format, Stage

Report = Callable[[Stage, int, int], None]
"""Told of a stage, what is done of it and how much there is; may raise to stop."""

# Gaussians first: they are quick, and the mesh is what takes time.
_ORDER: tuple[Format, ...] = ("gaussian", "radiance_field", "mesh")
ROLES: dict[Format, str] = {kind: FORMATS[kind].component for kind in _ORDER}
"""The decoder of each format, in the order in which they run."""
STAGES: dict[Format, Stage] = {
    "gaussian": "decode_gaussian",
    "radiance_field": "decode_radiance_field",
    "mesh": "decode_mesh",
}
OUTPUTS: dict[Format, str] = {"gaussian": "Gaussians", "radiance_field": "a radiance field", "mesh": "a mesh"}

_CUBE_CHANNELS = 101
_REPORTS = 20
"""How often a network reports its progress."""


class EmptyStructure(UserError):
    """The structure has no occupied voxel, so that nothing can be made of it."""


@dataclass(frozen=True)
class Voxels:
    """The sparse structure: occupied voxels coords (L, 3) int32, sorted, of a grid of `resolution`³.

    occupied: (R, R, R) bool at the resolution of the structure decoder, of which the coords are pooled where
    the structured latent is coarser, beside such as hold slivers of a solid. solid: whose surface they are,
    where the model tells.
    """

    coords: Tensor
    resolution: int
    occupied: Tensor
    solid: SolidGuess | None = None

    @property
    def outline(self) -> Outline | None:
        """The outline that the solid has from its picture."""
        return None if self.solid is None else self.solid.outline


@dataclass(frozen=True)
class Layer:
    """Latents feats (M, C) on voxels coords (M, 3), as an asset had them before an edit, and the outline that
    what is decoded of them keeps to, if any.
    """

    coords: Tensor
    feats: Tensor
    outline: Outline | None = None


@dataclass(frozen=True)
class StructuredLatent:
    """Latents feats (L, C), de-normalised, on the voxels coords (L, 3) of a grid of `resolution`³.

    After edits, voxels that were kept are decoded as they were: source (L, 2) u8 is the number of the layer
    that the shape of each, and its colours, are decoded of; len(layers) is these latents themselves, as all
    are where there is no source. outline: what is decoded of these latents keeps to it, if there is one.
    within (S, S, S) bool: the voxels inside the solid beside these, where they are not what these enclose.
    """

    coords: Tensor
    feats: Tensor
    resolution: int
    layers: tuple[Layer, ...] = ()
    source: Tensor | None = None
    outline: Outline | None = None
    within: Tensor | None = None


def silent(stage: Stage, done: int, of: int) -> None:
    """A report that nobody hears."""


@torch.inference_mode()
def decode_structure(
    networks: Networks, latent: Tensor, report: Report = silent, solid: SolidGuess | None = None
) -> Voxels:
    """The voxels of a structure latent (1, C, r, r, r): where the decoder's logit is above 0.

    Where a guide tells of the object's solid, they are the surface of what solid the latent makes of it.
    """
    networks.begin("decode_sparse_structure")
    with _reporting(networks["sparse_structure_decoder"], "decode_sparse_structure", report):
        return estimated_voxels(networks, latent, solid)


@torch.inference_mode()
def estimated_voxels(networks: Networks, latent: Tensor, solid: SolidGuess | None = None) -> Voxels:
    """The same of an estimate, in the middle of sampling: no network leaves the device for it."""
    resolution = networks.config("slat_flow_model").resolution
    latents = latent if solid is None else torch.cat([latent, solid.start.to(latent)])
    logits = networks["sparse_structure_decoder"](latents)[:, 0]
    require_finite("a structure", logits)
    if solid is None:
        return Voxels(occupied_voxels(logits[0], resolution).int(), resolution, logits[0] > 0)
    shape = solid.shaped(*logits.float())
    coords = occupied_voxels(shape.held.float() - 0.5, resolution).int()
    return Voxels(coords, resolution, shape.occupied, solid.settled(shape))


@torch.inference_mode()
def decode(
    networks: Networks,
    kind: Format,
    latent: StructuredLatent,
    report: Report = silent,
    close_border: bool = True,
) -> Any:
    """The mesh, Gaussians or radiance field of a structured latent."""
    rows = decode_rows(networks, kind, latent, report)
    return finish(networks, kind, latent.coords, rows, report, close_border, outline=latent.outline)


@torch.inference_mode()
def decode_rows(
    networks: Networks, kind: Format, latent: StructuredLatent, report: Report = silent
) -> Tensor:
    """What the decoder says of each voxel, (L, K) raw numbers; of the mesh those of its 64 cubes in turn."""
    networks.begin(STAGES[kind], _working_bytes(networks, kind, len(latent.coords)))
    decoder = networks[ROLES[kind]]
    with _reporting(decoder, STAGES[kind], report):
        raw = decoder(latent.feats, decoder.structure(latent.coords))
    rows = raw[1].reshape(len(latent.coords), -1) if kind == "mesh" else raw
    require_finite(OUTPUTS[kind], rows)
    if kind == "mesh" and decoder.config.head.solid:
        resolution = decoder.config.resolution
        within = enclosed_voxels(latent.coords, rows, resolution)
        coords, more = with_inside(latent.coords, rows, within)
        cubes = subdivide_coords(subdivide_coords(coords))
        features = more.view(len(cubes), -1)
        corners, distance = corner_distances(cubes, features, 4 * resolution)
        distance, shown = smoothed(distance), None
        if latent.outline is not None:
            distance, shown = outlined_distances(distance, latent.outline)
        features[:, :8] = with_solid_signs(distance, shown).flatten()[corners]
        return more[: len(rows)]
    return rows


@torch.inference_mode()
def finish(
    networks: Networks,
    kind: Format,
    coords: Tensor,
    rows: Tensor,
    report: Report = silent,
    close_border: bool = True,
    within: Tensor | None = None,
    outline: Outline | None = None,
) -> Mesh | Gaussians | RadianceField:
    """Rows (L, K) on voxels coords (L, 3) -> what they describe; the mesh by FlexiCubes in its fine cubes.

    within (S, S, S) bool: the voxels inside a solid beside these, by default what these enclose.
    outline: what Gaussians keep to; rows of a mesh do already.
    """
    decoder = networks[ROLES[kind]]
    if kind == "gaussian":
        gaussians = decode_gaussians(coords, rows, gaussian_config(decoder), decoder.offset_perturbation)
        return gaussians if outline is None else outlined_gaussians(gaussians, outline)
    if kind == "radiance_field":
        return decode_radiance_field(coords, rows, radiance_field_config(decoder))

    def check() -> None:
        report("extract_mesh", 0, 1)

    check()
    if decoder.config.head.solid:
        within = enclosed_voxels(coords, rows, decoder.config.resolution) if within is None else within
        coords, rows = with_inside(coords, rows, within)
    cubes = subdivide_coords(subdivide_coords(coords))
    features = rows.reshape(len(cubes), -1)
    return extract_mesh(cubes, features, 4 * decoder.config.resolution, close_border, check)


def gaussian_config(decoder: nn.Module) -> GaussianConfig:
    """How the raw numbers of a Gaussian decoder become Gaussians."""
    return GaussianConfig.from_json(decoder.config.representation_config, decoder.config.resolution)


def radiance_field_config(decoder: nn.Module) -> RadianceFieldConfig:
    """How the raw numbers of a radiance-field decoder become a field."""
    return RadianceFieldConfig.from_json(decoder.config.representation_config, decoder.config.resolution)


@contextlib.contextmanager
def before_each_layer(network: nn.Module, call: Callable[[], None]) -> Iterator[None]:
    """While it lasts, `call` is made before each layer of the network; what it raises stops the network."""
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: call()) for layer in network.layers()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _working_bytes(networks: Networks, kind: Format, voxels: int) -> int:
    """What the decoder allocates on this many voxels; of the mesh alone it is much."""
    if kind != "mesh" or networks.device.type == "cpu":
        return 0
    config = networks.config("slat_decoder_mesh")
    return mesh_working_bytes(voxels, config.model_channels, _CUBE_CHANNELS, networks.dtype.itemsize)


def _reporting(network: nn.Module, stage: Stage, report: Report) -> contextlib.AbstractContextManager[None]:
    """Reports before each layer of the coming pass what share of the layers is done."""
    count, done = len(network.layers()), itertools.count()
    return before_each_layer(
        network, lambda: report(stage, min(_REPORTS - 1, _REPORTS * next(done) // count), _REPORTS)
    )
