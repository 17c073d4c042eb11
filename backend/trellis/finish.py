"""An object's mesh, finished as a request asks: closed, within a budget of faces, with a texture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from backend.errors import UserError
from backend.finishing.chain import finish_mesh
from backend.finishing.report import FinishReport
from backend.finishing.settings import FinishSettings
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh, vertex_normals
from backend.texturing.kept import Former
from backend.texturing.projection import picture_views
from backend.texturing.settings import TextureSettings
from backend.texturing.texture import texture_mesh
from backend.texturing.unwrap import whole
from backend.trellis.decoding import Report
from backend.trellis.received import tensor_of
from backend.trellis.stages import Output, Step
from blender_trellis.protocol import Edit, Finish, Finishing

_MESH = ("vertices", "faces", "colors")
_COLUMNS = {"position": 3, "f_dc": 3, "opacity": 1, "scale": 3, "rotation": 4}
_SPLATS = tuple(_COLUMNS)


@dataclass(frozen=True)
class FinishedMesh:
    """texture: the same mesh cut along seams, with its image; None where none was asked for."""

    mesh: Mesh
    texture: TexturedMesh | None = None


def finish_settings(finishing: Finishing) -> FinishSettings:
    """The preset's settings with the request's numbers; UserError for what cannot be."""
    settings = FinishSettings.preset(finishing.preset)
    if finishing.preset != "raw":
        faces = finishing.faces or settings.faces
        settings = replace(settings, outside=finishing.outside, crumbs=finishing.crumbs, faces=faces)
    return replace(settings, watertight=True) if finishing.watertight else settings


def with_finished(
    events: Iterator[Step | Output],
    finishing: Finishing,
    pictures: Iterable[Image.Image],
    aligned: bool,
    report: Report,
    before: TexturedMesh | None = None,
) -> Iterator[Step | Output]:
    """The same, and after the mesh the finished one, where anything but the raw mesh is asked for.

    before: the finished mesh of the asset that an edit changes; what it keeps looks as it did.
    """
    settings = finish_settings(finishing)
    gaussians = None
    for event in events:
        yield event
        if isinstance(event, Output) and event.kind == "gaussian":
            gaussians = event.value
        if isinstance(event, Output) and event.kind == "mesh":
            if not settings.changes_nothing or finishing.texture:
                former = None
                if before is not None and event.kept is not None:
                    vertices = event.value.vertices.cpu().float().numpy()
                    former = Former(before, vertices, event.kept.cpu().numpy())
                yield finished(event.value, gaussians, finishing, pictures, aligned, report, former)


def finished(
    mesh: Mesh,
    gaussians: Gaussians | None,
    finishing: Finishing,
    pictures: Iterable[Image.Image],
    aligned: bool,
    report: Report,
    former: Former | None = None,
) -> Output:
    """The finished mesh and facts about it."""
    done, told = finish_mesh(
        mesh, finish_settings(finishing), lambda _, step, steps: report("finish_mesh", step, steps)
    )
    texture = None
    if finishing.texture:
        texture = textured(done, gaussians, finishing, pictures, aligned, report, former=former)
    surface = {} if texture is None else texture.surface
    return Output("finished_mesh", FinishedMesh(done, texture), about=_facts(told) | surface)


def textured(
    mesh: Mesh,
    gaussians: Gaussians | None,
    finishing: Finishing,
    pictures: Iterable[Image.Image],
    aligned: bool,
    report: Report,
    former: Former | None = None,
    uv: np.ndarray | None = None,
) -> TexturedMesh:
    """The mesh with the texture that a request asks for; former and uv as `texture_mesh` has them."""
    return texture_mesh(
        mesh,
        TextureSettings(
            finishing.texture,
            project_picture=finishing.project_picture,
            symmetry=finishing.symmetry,
            delight=finishing.delight,
            material=finishing.material,
        ),
        gaussians,
        picture_views(list(pictures), aligned) if finishing.project_picture else (),
        # The end of unwrapping is not that of the stage.
        lambda part, step, steps: report("bake_texture", step if part == "bake" else 0, steps),
        former=former,
        uv=uv,
    )


def received_texture(request: Edit) -> TexturedMesh | None:
    """The finished mesh before an edit, where one with a texture was sent; UserError where it is none."""
    arrays = request.arrays
    if "finished_texture" not in arrays:
        return None
    wanted = {"finished_vertices": (3,), "finished_faces": (3,), "finished_uv": (3, 2)}
    if any(name not in arrays or arrays[name].shape[1:] != shape for name, shape in wanted.items()):
        raise UserError("The finished mesh that was sent with the edit is not whole; finish the asset again.")
    vertices, faces, uv = (tensor_of(arrays[name]) for name in wanted)
    image = tensor_of(arrays["finished_texture"]).numpy()
    sound = len(vertices) > 0 and len(faces) == len(uv) and torch.isfinite(vertices).all()
    square = image.ndim == 3 and image.shape[2] == 3 and image.shape[0] == image.shape[1]
    if not sound or not square or len(faces) == 0 or not 0 <= faces.min() <= faces.max() < len(vertices):
        raise UserError("The finished mesh that was sent with the edit is not sound; finish the asset again.")
    cut = whole(faces.long().numpy(), uv.numpy())
    origin = torch.from_numpy(cut.origin)
    return TexturedMesh(
        vertices=vertices[origin],
        faces=torch.from_numpy(cut.faces),
        normals=vertex_normals(Mesh(vertices, faces.long()))[origin],
        uv=torch.from_numpy(cut.uv),
        origin=origin,
        image=image,
    )


def received(request: Finish) -> tuple[Mesh, Gaussians | None]:
    """The mesh of a request and its Gaussians, where it has them; UserError where they are none."""
    arrays = request.arrays
    for name, columns in {**dict.fromkeys(_MESH, 3), **_COLUMNS}.items():
        if name in _SPLATS and "position" not in arrays:
            continue
        if name not in arrays or arrays[name].shape[1:] != (columns,):
            raise UserError(
                f"What was sent to be finished has no {name} of {columns} numbers each; send it again."
            )
    for owner, names in (("vertices", ("colors",)), ("position", _SPLATS)):
        for name in names:
            if owner in arrays and arrays[name].shape[0] != arrays[owner].shape[0]:
                raise UserError(f"There are not as many {name} as {owner} in what was sent; send it again.")
    vertices, faces, colors = (tensor_of(arrays[name]) for name in _MESH)
    mesh = Mesh(vertices, faces.long(), colors)
    if "position" not in arrays:
        return mesh, None
    position, color, logit, scale, rotation = (tensor_of(arrays[name]) for name in _SPLATS)
    return mesh, Gaussians(position, color, logit.sigmoid(), scale.exp(), rotation)


def _facts(report: FinishReport) -> dict[str, float | str]:
    facts = report.after
    known = {
        "components": facts.components,
        "open_edges": facts.open_edges,
        "non_manifold_edges": facts.non_manifold_edges,
        "genus": facts.genus,
        "volume": facts.volume,
    }
    told = {"report": "\n".join(report.lines())} if report.steps else {}
    return {name: value for name, value in known.items() if value is not None} | told
