"""An object's mesh, finished as a request asks: closed, within a budget of faces, with a texture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from PIL import Image

from backend.errors import UserError
from backend.finishing.chain import finish_mesh
from backend.finishing.report import FinishReport
from backend.finishing.settings import FinishSettings
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh, TexturedMesh
from backend.texturing.projection import picture_views
from backend.texturing.settings import TextureSettings
from backend.texturing.texture import texture_mesh
from backend.trellis.decoding import Report
from backend.trellis.received import tensor_of
from backend.trellis.stages import Output, Step
from blender_trellis.protocol import Finish, Finishing

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
        settings = replace(settings, outside=finishing.outside, crumbs=finishing.crumbs)
    if finishing.faces:
        settings = replace(settings, faces=finishing.faces)
    return replace(settings, watertight=True) if finishing.watertight else settings


def with_finished(
    events: Iterator[Step | Output],
    finishing: Finishing,
    pictures: Iterable[Image.Image],
    aligned: bool,
    report: Report,
) -> Iterator[Step | Output]:
    """The same, and after the mesh the finished one, where anything but the raw mesh is asked for."""
    settings = finish_settings(finishing)
    gaussians = None
    for event in events:
        yield event
        if isinstance(event, Output) and event.kind == "gaussian":
            gaussians = event.value
        if isinstance(event, Output) and event.kind == "mesh":
            if not settings.changes_nothing or finishing.texture:
                yield finished(event.value, gaussians, finishing, pictures, aligned, report)


def finished(
    mesh: Mesh,
    gaussians: Gaussians | None,
    finishing: Finishing,
    pictures: Iterable[Image.Image],
    aligned: bool,
    report: Report,
) -> Output:
    """The finished mesh and facts about it."""
    done, told = finish_mesh(
        mesh, finish_settings(finishing), lambda _, step, steps: report("finish_mesh", step, steps)
    )
    texture = None
    if finishing.texture:
        texture = texture_mesh(
            done,
            TextureSettings(
                finishing.texture,
                project_picture=finishing.project_picture,
                symmetry=finishing.symmetry,
                delight=finishing.delight,
                material=finishing.material,
            ),
            gaussians,
            picture_views(list(pictures), aligned) if finishing.project_picture else (),
            lambda _, step, steps: report("bake_texture", step, steps),
        )
    return Output("finished_mesh", FinishedMesh(done, texture), about=_facts(told))


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
