"""The parts of a generated object as named numpy arrays, as the protocol sends them."""

from collections.abc import Mapping
from typing import Any

import numpy
import torch

from backend.errors import UserError
from backend.representations.gaussians import Gaussians, stored_values
from backend.representations.mesh import Mesh, VertexColors
from backend.representations.radiance_field import RadianceField
from backend.trellis.asset import optional_tensors, packed_bits
from backend.trellis.decoding import StructuredLatent, Voxels
from backend.trellis.finish import FinishedMesh
from backend.trellis.finite import require_finite
from backend.trellis.stages import Output


def _numpy(tensor: torch.Tensor, dtype: str) -> numpy.ndarray:
    return numpy.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=dtype)


def voxel_arrays(voxels: Voxels) -> dict[str, numpy.ndarray]:
    """Coordinates (L, 3), and the bits of all voxels, packed."""
    return {"coords": _numpy(voxels.coords, "<i4"), "occupied": packed_bits(voxels.occupied).numpy()}


def mesh_arrays(mesh: Mesh) -> dict[str, numpy.ndarray]:
    """vertices (V, 3), faces (F, 3), colors (V, 3) sRGB in [0, 1]; UserError where the mesh is empty."""
    if len(mesh.faces) == 0:
        raise UserError(
            "The decoded mesh has no faces; take the Gaussians, or start from another picture or other words."
        )
    colors = mesh.colors if mesh.colors is not None else torch.full_like(mesh.vertices, 0.8)
    require_finite("a mesh", mesh.vertices, colors)  # before infinite colours are clamped
    return {
        "vertices": _numpy(mesh.vertices, "<f4"),
        "faces": _numpy(mesh.faces, "<i4"),
        "colors": _numpy(colors.clamp(0, 1), "<f4"),
        "keys": _keys(mesh.keys, len(mesh.vertices)),
    }


def finished_arrays(done: FinishedMesh) -> dict[str, numpy.ndarray]:
    """vertices, faces and colors as of a mesh; with a texture also uv (F, 3, 2) and texture (S, S, 3) u8."""
    arrays = mesh_arrays(done.mesh)
    del arrays["keys"]
    if done.texture is None:
        return arrays
    cut = done.texture
    faces = _numpy(cut.origin[cut.faces], "<i4")  # in the order of the texture's
    return arrays | {"faces": faces, "uv": _numpy(cut.uv[cut.faces], "<f4"), "texture": cut.image}


def gaussian_arrays(gaussians: Gaussians) -> dict[str, numpy.ndarray]:
    """INRIA values in the z-up frame: logit opacity, log scale, unit quaternion w x y z."""
    position, f_dc, opacity, scale, rotation = stored_values(gaussians)
    unit = torch.nn.functional.normalize(rotation, dim=-1)
    length = rotation.norm(dim=-1)  # a rotation whose length is 0 or overflows has no direction
    require_finite("Gaussians", position, f_dc, opacity, scale, length, 1 / length)
    parts = {"position": position, "f_dc": f_dc, "opacity": opacity, "scale": scale, "rotation": unit}
    arrays = {name: _numpy(part, "<f4") for name, part in parts.items()}
    return arrays | {"keys": _keys(gaussians.keys, len(gaussians))}


def _keys(keys: torch.Tensor | None, count: int) -> numpy.ndarray:
    """The names (count,) of vertices or splats; their places where decoding has not named them."""
    return _numpy(keys if keys is not None else torch.arange(count), "<i4")


def radiance_field_arrays(field: RadianceField) -> dict[str, numpy.ndarray]:
    """The boxes as files and messages have them; UserError for numbers that are not finite."""
    names = ("position", "trivec", "density", "features_dc")
    require_finite("a radiance field", *(getattr(field, name) for name in names))
    return {name: _numpy(getattr(field, name), "<f4") for name in names}


def describe(part: Any) -> tuple[Mapping[str, int], dict[str, numpy.ndarray]]:
    """What a Result says of a part: its facts and its arrays. UserError where its values are no numbers."""
    if isinstance(part, Voxels):
        resolutions = {"resolution": part.resolution, "structure_resolution": len(part.occupied)}
        return resolutions, voxel_arrays(part)
    if isinstance(part, StructuredLatent):
        require_finite("a structured latent", part.feats)
        arrays = {"coords": _numpy(part.coords, "<i4"), "feats": _numpy(part.feats, "<f4")}
        for name, tensor in optional_tensors(part).items():
            kinds = {torch.uint8: "u1", torch.float32: "<f4", torch.int32: "<i4"}
            arrays[name] = _numpy(tensor, kinds[tensor.dtype])
        return {"resolution": part.resolution}, arrays
    if isinstance(part, torch.Tensor):
        require_finite("a structure", part)
        return {}, {"latent": _numpy(part[0], "<f4")}
    if isinstance(part, VertexColors):
        require_finite("colours", part.colors)
        image = {} if part.image is None else {"texture": part.image}
        return {}, {"colors": _numpy(part.colors.clamp(0, 1), "<f4")} | image
    writers = {
        Mesh: mesh_arrays,
        FinishedMesh: finished_arrays,
        Gaussians: gaussian_arrays,
        RadianceField: radiance_field_arrays,
    }
    return {}, writers[type(part)](part)


def describe_output(output: Output) -> tuple[Mapping[str, float | str], dict[str, numpy.ndarray]]:
    """The same of an output; of an edit's also which vertices or splats are those of the asset as it was."""
    facts, arrays = describe(output.value)
    if output.kept is not None and isinstance(output.value, Mesh | Gaussians):
        arrays |= {"kept": _numpy(output.kept, "u1")}
    return {**facts, **output.about}, arrays


def checked(part: Any) -> Any:
    """The part, which may be written to files; UserError where its values are no numbers."""
    describe(part)
    return part
