"""What the arrays of a request say: an asset's latents, and the region that is to change."""

import numpy as np
import torch
from torch import Tensor

from backend.errors import UserError
from backend.geometry.region import Box, Region, make_box_of_matrix, make_closed_mesh
from backend.trellis.asset import AssetLatents, checked_latents, with_optional
from backend.trellis.decoding import Report
from backend.trellis.encode import Frame, encode_mesh
from backend.trellis.finite import require_finite
from backend.trellis.networks import Networks
from blender_trellis.protocol import Array, Complete, Edit, Encode, OfAsset

MESH = ("vertices", "faces", "colors")
OPTIONAL = (
    ("source", "layer_sizes", "layer_coords", "layer_feats"),  # of an edited asset
    ("outline_alpha", "outline_view"),
    ("within",),  # of an edited asset that is solid
)
LATENTS = ("structure_latent", "occupied", "coords", "feats")
_DTYPES = {"u1": np.uint8, "i4": np.int32, "f4": np.float32}


def asset_of(request: OfAsset, networks: Networks, report: Report) -> tuple[AssetLatents, Frame | None]:
    """The asset that a request starts from, and where its unit cube lies if it was encoded from a mesh.

    UserError unless the model of these networks made it.
    """
    if "vertices" in request.arrays:
        return encoded(request, networks, report)
    missing = [name for name in LATENTS if name not in request.arrays]
    if missing:
        raise UserError(f"The request lacks the asset's {missing[0]}; generate the asset again.")
    if not networks.folder.made(request.model_hash):
        raise UserError(
            f"The asset was made by another model or version than {request.model}; choose the one that made"
            " it, or make the asset editable again from its mesh."
        )
    latent, occupied, coords, feats = (tensor_of(request.arrays[name]) for name in LATENTS)
    try:
        asset = checked_latents(
            latent[None],
            occupied,
            coords,
            feats,
            request.resolution,
            request.structure_resolution,
            request.model,
            request.model_hash,
        )
        _check_sizes(asset, networks)
        asset = with_optional(asset, {name: tensor_of(request.arrays[name]) for name in _optional(request)})
    except ValueError as error:
        raise UserError(f"The asset's latents are damaged ({error}); undo, or generate it again.") from error
    return asset, None


def structure_of(request: Complete, networks: Networks) -> Tensor:
    """The structure latent (1, C, r, r, r) to go on from; UserError where it is another model's."""
    array = request.arrays.get("structure_latent")
    config = networks.config("sparse_structure_flow_model")
    if not networks.folder.made(request.model_hash):
        raise UserError(
            f"The candidate was made by another model or version than {request.model}; make candidates again."
        )
    if array is None or array.dtype != "f4" or array.shape != (config.in_channels, *(config.resolution,) * 3):
        raise UserError("The structure of the candidate is missing or damaged; make candidates again.")
    latent = tensor_of(array)[None]
    require_finite("a structure", latent)
    return latent


def encoded(request: OfAsset | Encode, networks: Networks, report: Report) -> tuple[AssetLatents, Frame]:
    """The asset that a request's mesh becomes; UserError where it is none."""
    for name in MESH:
        array = request.arrays.get(name)
        if array is None or len(array.shape) != 2 or array.shape[1] != 3:
            raise UserError(f"The mesh that was sent has no {name} of three numbers each; send it again.")
    vertices, faces, colors = (values_of(request.arrays[name]) for name in MESH)
    if len(colors) != len(vertices):
        raise UserError(
            f"The mesh has {len(vertices)} vertices and {len(colors)} colours; send one for each vertex."
        )
    return encode_mesh(networks, vertices, faces, colors, report)


def _optional(request: OfAsset) -> list[str]:
    """The names of the arrays that hold an asset's layers and outlines, and what lies within."""
    names = [name for group in OPTIONAL if group[0] in request.arrays for name in group]
    missing = [name for name in names if name not in request.arrays]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return names


def _check_sizes(asset: AssetLatents, networks: Networks) -> None:
    """ValueError where the latents have other sizes than those the flows sample."""
    structure = networks.config("sparse_structure_flow_model")
    latent = networks.config("slat_flow_model")
    if asset.structure_latent.shape[1:] != (structure.in_channels, *(structure.resolution,) * 3):
        raise ValueError("the structure latent has another size")
    if asset.feats.shape[1] != latent.in_channels or asset.resolution != latent.resolution:
        raise ValueError("the structured latent has another size")


def region_of(request: Edit) -> Region:
    """The boxes and closed meshes of an edit; UserError that says what is wrong with one."""
    boxes: list[Box] = []
    for numbers in request.boxes:
        if len(numbers) != 16:
            raise UserError("A box of the region is not a matrix of 16 numbers; correct the request.")
        boxes.append(make_box_of_matrix(np.array(numbers).reshape(4, 4)))
    meshes = [
        make_closed_mesh(values_of(vertices).astype(np.float64), values_of(faces).astype(np.int64))
        for vertices, faces in request.meshes
    ]
    if not boxes and not meshes:
        raise UserError("The region has neither a box nor a mesh; add one.")
    return Region(tuple(boxes), tuple(meshes))


def values_of(array: Array) -> np.ndarray:
    """The numbers of an array, as they came."""
    return np.frombuffer(array.data, np.dtype(_DTYPES[array.dtype]).newbyteorder("<")).reshape(array.shape)


def tensor_of(array: Array) -> Tensor:
    """The same as a tensor of its own."""
    return torch.from_numpy(values_of(array).astype(_DTYPES[array.dtype]))
