"""Regions of an asset: boxes and meshes in its frame, the voxels they take, and what is asked for them."""

import math

import bpy
import numpy as np
import pytest
from fake_backend import ball
from mathutils import Matrix

from blender_trellis.editing.region_objects import is_region, matrix_in, read_region, regions_of, shape_of
from blender_trellis.faults import Fault
from blender_trellis.scene.asset import Asset, StoredLatents
from blender_trellis.scene.collection import add_asset, show
from blender_trellis.scene.find_asset import asset_matrix, own_asset, part
from blender_trellis.ui.region import drawing, reasons

RESOLUTION = 32


def ball_latents() -> StoredLatents:
    """Voxels round the fake backend's ball, with latents that mean nothing."""
    cells = np.unique(((ball()[0] + 0.5) * RESOLUTION).astype(np.int32), axis=0)
    random = np.random.default_rng(1)
    arrays = {
        "structure_latent": random.normal(size=(8, 16, 16, 16)).astype(np.float32),
        "occupied": random.integers(0, 256, 64**3 // 8).astype(np.uint8),
        "coords": cells,
        "feats": random.normal(size=(len(cells), 8)).astype(np.float32),
    }
    return StoredLatents(arrays, RESOLUTION, 64, "starter", "0" * 64)


def add_ball(matrix: Matrix | None = None, **changes) -> bpy.types.Collection:
    vertices, faces, colors = ball()
    mesh = {"vertices": vertices, "faces": faces, "colors": colors}
    mesh["keys"] = np.arange(len(vertices), dtype=np.int32)
    held = {"mesh": mesh, "latents": ball_latents(), "pictures": (("ball.png", b"ball"),)} | changes
    asset = Asset("ball", **held)
    return add_asset(asset, bpy.context.scene, bpy.context.view_layer, matrix)


def splats_at(position: np.ndarray) -> dict[str, np.ndarray]:
    count = len(position)
    return {
        "position": position,
        "f_dc": np.zeros((count, 3), np.float32),
        "opacity": np.ones((count, 1), np.float32),
        "scale": np.full((count, 3), -4, np.float32),
        "rotation": np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        "keys": np.arange(count, dtype=np.int32),
    }


def add_region() -> bpy.types.Object:
    assert bpy.ops.trellis.add_region() == {"FINISHED"}
    return bpy.context.object


def taken(collection: bpy.types.Collection) -> drawing.Taken:
    bpy.context.view_layer.update()
    return drawing.taken_by(collection, bpy.context.view_layer)


def test_the_region_of_a_copy_is_the_copys(addon):
    collection = add_ball()
    body, box = part(collection, "mesh"), add_region()
    for item in (body, box):
        item.select_set(True)
    bpy.ops.object.duplicate()
    copies = {item.type: item for item in bpy.context.selected_objects}
    fresh = own_asset(copies["MESH"])
    bpy.context.view_layer.update()
    assert regions_of(fresh, bpy.context.view_layer) == (copies["EMPTY"],)
    assert regions_of(collection, bpy.context.view_layer) == (box,)


def test_a_linked_asset_is_not_changed(addon, tmp_path):
    add_ball()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "ball.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "ball.blend"), link=True) as (held, wanted):
        wanted.collections = [name for name in held.collections if name == "ball"]
    (collection,) = wanted.collections
    bpy.context.scene.collection.children.link(collection)
    bpy.context.view_layer.objects.active = collection.objects[0]
    before = {*bpy.data.objects}
    for operator in (bpy.ops.trellis.add_region, bpy.ops.trellis.finish, bpy.ops.trellis.regenerate_region):
        assert not operator.poll()
    assert {*bpy.data.objects} == before


HALF = 0.4 + 0.5 / RESOLUTION + 1e-4  # of the ball, with half a voxel
AROUND = np.diag([HALF, HALF, HALF, 1.0])
PLACES = (
    Matrix.Identity(4),
    Matrix.Translation((300.0, -20.0, 5.0))
    @ Matrix.Rotation(0.7, 4, "X")
    @ Matrix.Diagonal((2.0, 0.3, 5.0, 1.0)),
)


@pytest.mark.parametrize("place", PLACES)
def test_a_box_fits_the_asset_wherever_it_stands(addon, place):
    collection = add_ball(place)
    box = add_region()
    bpy.context.view_layer.update()
    np.testing.assert_allclose(matrix_in(box, collection), AROUND, atol=1e-6)
    part(collection, "mesh").parent.location.x += 7.0  # the box goes with the asset
    bpy.context.view_layer.update()
    np.testing.assert_allclose(matrix_in(box, collection), AROUND, atol=1e-6)


@pytest.mark.parametrize(
    "kind, applied", [("mesh", 1.0), ("finished", 1.0), ("mesh", 3.0), ("finished", 3.0)]
)
def test_a_box_fits_the_vertices_selected_in_edit_mode(addon, kind, applied):
    vertices, faces, colors = ball()
    arrays = {"vertices": vertices, "faces": faces, "colors": colors}
    collection = add_ball(PLACES[1], **({"finished": arrays} if kind == "finished" else {}))
    seen = part(collection, kind)
    assert bpy.context.object == seen
    seen.data.transform(Matrix.Scale(applied, 4))
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="DESELECT")
    bpy.ops.object.mode_set(mode="OBJECT")
    for vertex in seen.data.vertices:
        vertex.select = vertex.co.x > 0.2 * applied and vertex.co.z > 0
    bpy.ops.object.mode_set(mode="EDIT")
    box = add_region()
    assert bpy.context.mode == "OBJECT" and bpy.context.selected_objects == [box]
    chosen = np.array([one.co for one in seen.data.vertices if one.select]) / applied
    assert 10 < len(chosen) < 400
    matrix = matrix_in(box, collection)
    low, high = chosen.min(axis=0) - (HALF - 0.4), chosen.max(axis=0) + (HALF - 0.4)
    np.testing.assert_allclose(matrix[:3, 3] - np.diag(matrix)[:3], low, atol=1e-6)
    np.testing.assert_allclose(matrix[:3, 3] + np.diag(matrix)[:3], high, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("applied", [False, True])
def test_who_moves_what_is_seen_moves_the_asset(addon, place, applied):
    """The finished mesh alone, without the Empty that it hangs on; its own transform is applied or not."""
    vertices, faces, colors = ball()
    finished = {"vertices": vertices, "faces": faces, "colors": colors}
    collection = add_ball(place, finished=finished, gaussian=splats_at(vertices))
    seen, raw, splats = (part(collection, kind) for kind in ("finished", "mesh", "gaussian"))
    before = add_region()
    change = Matrix.Translation((4.0, -1.0, 2.0)) @ Matrix.Diagonal((2.0, 2.0, 2.0, 1.0))
    seen.matrix_basis = change
    if applied:
        seen.data.transform(change)
        seen.matrix_basis = Matrix.Identity(4)
    bpy.context.view_layer.update()
    expected = np.array(raw.parent.matrix_world @ raw.matrix_parent_inverse @ change)
    near = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(asset_matrix(collection), expected, atol=near)
    bpy.context.view_layer.objects.active = seen
    for box in (before, add_region()) if not applied else (add_region(),):
        np.testing.assert_allclose(matrix_in(box, collection), AROUND, atol=1e-5)
    show(collection, "gaussian")
    bpy.context.view_layer.update()
    np.testing.assert_allclose(splats.matrix_world, expected, atol=near)
    splats.location.x += 1.0  # now the splats are what is seen, and the regions go with them
    bpy.context.view_layer.update()
    np.testing.assert_allclose(matrix_in(box, collection), AROUND, atol=1e-5)
    show(collection, "mesh")
    bpy.context.view_layer.update()
    np.testing.assert_allclose(asset_matrix(collection), splats.matrix_world, atol=near)
    np.testing.assert_allclose(matrix_in(box, collection), AROUND, atol=1e-5)


def test_a_region_that_was_moved_elsewhere_is_read_through_the_world(addon):
    """Constraints and parents of the artist's own."""
    collection = add_ball(PLACES[1])
    box = add_region()
    world = box.matrix_world.copy()
    holder = bpy.data.objects.new("holder", None)
    bpy.context.scene.collection.objects.link(holder)
    holder.location = (1.0, 2.0, 3.0)
    bpy.context.view_layer.update()
    box.parent, box.matrix_parent_inverse = holder, Matrix.Identity(4)
    box.matrix_world = world
    bpy.context.view_layer.update()
    np.testing.assert_allclose(matrix_in(box, collection), AROUND, atol=2e-3)
    assert regions_of(collection, bpy.context.view_layer) == (box,)


def test_what_was_moved_to_another_collection_has_its_regions_and_is_shown(addon):
    vertices, faces, colors = ball()
    finished = {"vertices": vertices, "faces": faces, "colors": colors}
    collection = add_ball(finished=finished, gaussian=splats_at(vertices))
    seen, splats = part(collection, "finished"), part(collection, "gaussian")
    mine = bpy.data.collections.new("Mine")
    bpy.context.scene.collection.children.link(mine)
    for item in (seen, seen.parent):
        mine.objects.link(item)
        collection.objects.unlink(item)
    bpy.context.view_layer.objects.active = seen
    box = add_region()
    bpy.context.view_layer.update()
    assert regions_of(collection, bpy.context.view_layer) == (box,)
    bpy.context.view_layer.objects.active = seen
    bpy.ops.trellis.show(kind="gaussian")
    assert seen.hide_viewport and not splats.hide_viewport


def test_the_voxels_of_several_regions_are_joined_and_hidden_ones_do_not_count(addon):
    collection = add_ball()
    centres = (ball_latents().arrays["coords"] + 0.5) / RESOLUTION - 0.5
    upper = add_region()
    upper.location.z, upper.scale.z = 0.3, 0.1
    left = add_region()
    left.location.x, left.scale.x = -0.3, 0.1
    expected = (abs(centres[:, 2] - 0.3) <= 0.1) | (abs(centres[:, 0] + 0.3) <= 0.1)
    assert taken(collection).own.sum() == expected.sum() > 0
    left.hide_set(True)
    assert taken(collection).own.sum() == (abs(centres[:, 2] - 0.3) <= 0.1).sum()


def test_a_turned_box_takes_what_lies_in_it(addon):
    collection = add_ball(PLACES[1])
    box = add_region()
    box.location, box.scale = (0.1, 0.2, 0.3), (0.5, 0.2, 0.1)
    box.rotation_euler = (0.0, 0.0, math.pi / 2)  # its long side now lies along y
    centres = (ball_latents().arrays["coords"] + 0.5) / RESOLUTION - 0.5
    expected = (np.abs(centres - (0.1, 0.2, 0.3)) <= (0.2, 0.5, 0.1)).all(axis=1)
    assert taken(collection).own.sum() == expected.sum() > 0


def test_a_closed_mesh_becomes_a_region_and_an_ordinary_object_again(addon):
    collection = add_ball()
    body = part(collection, "mesh")
    bpy.ops.mesh.primitive_ico_sphere_add(radius=0.3, subdivisions=3, location=body.matrix_world.translation)
    sphere = bpy.context.object
    body.select_set(True)
    assert bpy.ops.trellis.use_as_region() == {"FINISHED"}
    assert regions_of(collection, bpy.context.view_layer) == (sphere,)
    assert sphere.hide_render and sphere.display_type == "WIRE"
    centres = np.stack(np.meshgrid(*[(np.arange(32) + 0.5) / 32 - 0.5] * 3, indexing="ij"), axis=-1)
    inside = np.linalg.norm(centres, axis=-1)
    mask = taken(collection).mask
    assert mask[inside < 0.28].all() and not mask[inside > 0.301].any()
    assert bpy.ops.trellis.use_as_region() == {"FINISHED"}
    assert regions_of(collection, bpy.context.view_layer) == ()
    assert not sphere.hide_render and sphere.display_type == "TEXTURED"


def test_an_open_mesh_is_no_region(addon):
    collection = add_ball()
    bpy.ops.mesh.primitive_plane_add()
    part(collection, "mesh").select_set(True)
    with pytest.raises(RuntimeError, match='"Plane" is not closed'):
        bpy.ops.trellis.use_as_region()
    assert regions_of(collection, bpy.context.view_layer) == ()


def test_of_meshes_of_which_one_is_open_none_becomes_a_region(addon):
    collection = add_ball()
    made = []
    for add in (bpy.ops.mesh.primitive_cube_add, bpy.ops.mesh.primitive_plane_add) * 2:
        add(size=0.3)
        made.append(bpy.context.object)
    for item in (*made, part(collection, "mesh")):
        item.select_set(True)
    with pytest.raises(RuntimeError, match="is not closed"):
        bpy.ops.trellis.use_as_region()
    assert not any(is_region(item) or item.hide_render for item in made)


def test_a_region_scaled_to_nothing_is_named(addon):
    collection = add_ball()
    box = add_region()
    box.scale.y = 0.0
    with pytest.raises(Fault, match='"Region" is scaled to nothing'):
        shape_of([read_region(box, collection)])
    assert "scaled to nothing" in reasons.why_not_now(bpy.context)


def test_the_picture_to_paint_on_shows_the_asset_from_its_front(addon):
    """The ball is red towards +X, green towards +Y, blue towards +Z; the camera stands before -Y."""
    collection = add_ball(PLACES[1])
    scenes, objects = list(bpy.data.scenes), list(bpy.data.objects)
    settings = bpy.context.scene.trellis.region
    settings.view_height = 0.0
    assert bpy.ops.trellis.paint_change() == {"FINISHED"}
    assert list(bpy.data.scenes) == scenes and list(bpy.data.objects) == objects
    image = settings.painted
    assert settings.guide == "PAINTED" and image.packed_file is not None and image.name == "ball Painting"
    pixels = np.array(image.pixels[:]).reshape(1024, 1024, 4)  # rows from the bottom up
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all()
    seen = np.argwhere(pixels[..., 3] > 0.5)
    # From where the sphere round the unit cube fills a view of 40°, one of 0.4 fills this much.
    distance = math.sqrt(0.75) / math.sin(math.radians(20))
    fills = math.tan(math.asin(0.4 / distance)) / math.tan(math.radians(20))
    np.testing.assert_allclose((np.ptp(seen, axis=0) + 1) / 1024, fills, atol=0.004)
    left, right, low, high = (
        pixels[row, column] for row, column in ((512, 350), (512, 674), (350, 512), (674, 512))
    )
    assert right[0] > left[0] + 0.2 and high[2] > low[2] + 0.2
    assert pixels[512, 512, 1] < 0.3  # its green side is behind
    assert part(collection, "mesh").parent is not None


def test_what_was_painted_is_the_guide(addon):
    from blender_trellis.ui.region.guide import guide_of

    collection = add_ball()
    bpy.ops.trellis.paint_change()
    settings = bpy.context.scene.trellis.region
    untouched = guide_of(collection, settings).pictures[0].data
    assert untouched.startswith(b"\x89PNG")
    pixels = np.array(settings.painted.pixels[:]).reshape(1024, 1024, 4)
    pixels[400:600, 400:600] = (0.0, 1.0, 0.0, 1.0)
    settings.painted.pixels[:] = pixels.ravel().tolist()
    painted = guide_of(collection, settings).pictures[0].data
    assert painted.startswith(b"\x89PNG") and painted != untouched
