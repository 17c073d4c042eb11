"""The buttons of variants. Each reads what is selected, sends requests, and turns a Fault into a report."""

import re
from dataclasses import replace

import bpy
from mathutils import Matrix

from ...backend_settings import backend_settings
from ...editing.region_objects import body_of
from ...faults import Fault
from ...jobs import session
from ...jobs.placement import Placement
from ...meshes.image_tiles import MOST_TEXELS, tiles_across
from ...meshes.source import MeshSource, read_objects
from ...protocol import Format
from ...scene.find_asset import body_matrix, formats_of, own_body
from ...scene.latents import read_latents
from ...scene.placement import Bounds, cube_bounds, free_shifts, world_bounds
from ..widgets import report
from .reasons import guide_of, model_of, why_not_encode, why_not_retexture, why_not_vary
from .request import (
    Selected,
    encode_request,
    selected,
    start_of_asset,
    start_of_mesh,
    vary_request,
    with_coordinates,
)

_VARIANT = re.compile(r" Variant( \d+)?(\.\d+)?$")


class _Button(bpy.types.Operator):
    """Greys out for a reason; not registered itself."""

    @classmethod
    def why_not(cls, context: bpy.types.Context) -> str:
        """One sentence, empty where it can be pressed."""
        raise NotImplementedError

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Says why the button is grey, where it is."""
        reason = cls.why_not(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def submit(self, context: bpy.types.Context, chosen: Selected) -> None:
        """Sends what is asked for. Raises Fault."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            self.submit(context, selected(context))
        except Fault as fault:
            report(self, "ERROR", str(fault))
            return {"CANCELLED"}
        return {"FINISHED"}


class TRELLIS_OT_vary(_Button):
    """Make variants of the selected asset or meshes beside it, each in a collection of its own"""

    bl_idname = "trellis.vary"
    bl_label = "Vary"

    @classmethod
    def why_not(cls, context: bpy.types.Context) -> str:
        return why_not_vary(context)

    def submit(self, context: bpy.types.Context, chosen: Selected) -> None:
        settings, backend = context.scene.trellis.vary, backend_settings()
        model = model_of(chosen, context)
        info = session.model_info(model)
        count = settings.to_count(info)
        guide = guide_of(chosen, settings)
        settings.draw_seed()
        if chosen.asset is not None:
            start = start_of_asset(read_latents(chosen.asset))
            formats = formats_of(chosen.asset) or _formats_set(context)
            history = str(chosen.asset.get("trellis_history", ""))
            body = own_body(context.object) or body_of(chosen.asset)
            places = _beside(body, context, count)
        else:
            source = _read(chosen, context)
            start, history, formats = start_of_mesh(source, model), "", _formats_set(context)
            places = _at(source, context, count)
        for number, matrix in enumerate(places):
            request = vary_request(
                start,
                guide,
                settings.seed + number,
                settings.to_strength(info),
                settings.what == "shape",
                formats,
                backend,
            )
            # A variant of a variant is one of the first, by name too.
            name = f"{_VARIANT.sub('', chosen.name)} Variant" + (f" {number + 1}" if count > 1 else "")
            finished = replace(request, finishing=context.scene.trellis.finish.to_finishing())
            scene = context.scene.session_uid
            session.submit(finished, Placement(name, scene=scene, matrix=_rows(matrix), history=history))


class TRELLIS_OT_make_editable(_Button):
    """Turn the selected objects into an asset at their place, whose parts can be regenerated and varied"""

    bl_idname = "trellis.make_editable"
    bl_label = "Make Editable"

    @classmethod
    def why_not(cls, context: bpy.types.Context) -> str:
        return why_not_encode(context)

    def submit(self, context: bpy.types.Context, chosen: Selected) -> None:
        source = _read(chosen, context)
        request = encode_request(source, model_of(chosen, context), _formats_set(context), backend_settings())
        name, matrix = f"{chosen.name} Editable", _rows(Matrix(source.matrix))
        session.submit(request, Placement(name, scene=context.scene.session_uid, matrix=matrix))


class TRELLIS_OT_retexture(_Button):
    """Color meshes by an attribute, those with UVs by images too; shape and materials stay your own"""

    bl_idname = "trellis.retexture"
    bl_label = "Retexture"

    @classmethod
    def why_not(cls, context: bpy.types.Context) -> str:
        return why_not_retexture(context)

    def submit(self, context: bpy.types.Context, chosen: Selected) -> None:
        settings = context.scene.trellis.vary
        model = model_of(chosen, context)
        source, guide = _read(chosen, context), guide_of(chosen, settings)
        settings.draw_seed()
        finishing = replace(context.scene.trellis.finish.to_finishing(), preset="raw")
        start, has_image = start_of_mesh(source, model), finishing.texture > 0 and source.uv is not None
        if has_image:
            # The coordinates of several objects may lie in the same places.
            side = tiles_across(len(source.names))
            start = with_coordinates(start, source, side)
            finishing = replace(finishing, texture=min(side * finishing.texture, MOST_TEXELS))
        request = vary_request(
            start,
            guide,
            settings.seed,
            settings.to_strength(session.model_info(model)),
            False,
            ("mesh", "gaussian") if has_image else ("mesh",),
            backend_settings(),
            onto_mesh=True,
        )
        if has_image:
            request = replace(request, finishing=finishing)
        uids = tuple(bpy.data.objects[name].session_uid for name in source.names)
        placement = Placement(
            chosen.name,
            recolors=source.parts,
            recolored_uids=uids,
            recolored_scene=context.scene.session_uid,
            recolored_file=bpy.data.filepath,
        )
        session.submit(request, placement)


def _read(chosen: Selected, context: bpy.types.Context) -> MeshSource:
    return read_objects(chosen.objects, context.evaluated_depsgraph_get())


def _formats_set(context: bpy.types.Context) -> tuple[Format, ...]:
    formats = context.scene.trellis.formats
    return tuple(kind for kind in ("mesh", "gaussian") if kind in formats) or ("mesh",)


def _beside(body: bpy.types.Object, context: bpy.types.Context, count: int) -> list[Matrix]:
    """Where variants stand that keep the size and turn of the asset with this body: what is hidden of it may
    have been left behind."""
    shifts = free_shifts(world_bounds([body]), context.view_layer, count, _coming(context))
    return [Matrix.Translation((shift, 0.0, 0.0)) @ body_matrix(body) for shift in shifts]


def _at(source: MeshSource, context: bpy.types.Context, count: int) -> list[Matrix]:
    """The place of the mesh itself, and further ones beside it."""
    points = source.vertices @ source.matrix[:3, :3].T + source.matrix[:3, 3]
    box = Bounds(points.min(axis=0), points.max(axis=0))
    shifts = [0.0, *free_shifts(box, context.view_layer, count - 1, _coming(context))]
    return [Matrix.Translation((shift, 0.0, 0.0)) @ Matrix(source.matrix) for shift in shifts]


def _coming(context: bpy.types.Context) -> list[Bounds]:
    """Where variants that are still being made will stand."""
    places = session.coming_places(context.scene.session_uid)
    return [cube_bounds(Matrix([rows[at : at + 4] for at in range(0, 16, 4)])) for rows in places]


def _rows(matrix: Matrix) -> tuple[float, ...]:
    return tuple(value for row in matrix for value in row)


CLASSES = (TRELLIS_OT_vary, TRELLIS_OT_make_editable, TRELLIS_OT_retexture)
