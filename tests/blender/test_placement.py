"""Where results stand, and where the cube is in which edits are made."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from fake_backend import ball
from mathutils import Matrix, Vector

from blender_trellis.jobs.placement import Placement
from blender_trellis.jobs.status import Growing
from blender_trellis.scene.asset import Asset
from blender_trellis.scene.collection import add_asset, show
from blender_trellis.scene.display.framing import uncovered
from blender_trellis.scene.find_asset import asset_matrix, part, world_matrix
from blender_trellis.scene.placement import Bounds, world_bounds
from blender_trellis.scene.standing import Standing
from blender_trellis.ui.preview_drawing import corners_of


def _asset(stretch=(1.0, 0.5, 0.8), name: str = "crate") -> Asset:
    vertices, faces, colors = ball()
    places = (vertices * stretch + np.array([0.05, -0.1, 0.02])).astype(np.float32)
    keys = np.arange(len(places), dtype=np.int32)
    splats = {
        "position": places,
        "f_dc": colors,
        "opacity": np.ones((len(places), 1), np.float32),
        "scale": np.full((len(places), 3), -4.0, np.float32),
        "rotation": np.tile(np.array([1, 0, 0, 0], np.float32), (len(places), 1)),
        "keys": keys,
    }
    mesh = {"vertices": places, "faces": faces, "colors": colors, "keys": keys}
    return Asset(name, mesh=mesh, gaussian=splats)


def _add(asset: Asset | None = None, **where) -> bpy.types.Collection:
    return add_asset(asset or _asset(), bpy.context.scene, bpy.context.view_layer, **where)


def _bounds(collection: bpy.types.Collection) -> Bounds:
    bpy.context.view_layer.update()
    return world_bounds([part(collection, "mesh"), part(collection, "gaussian")])


def _close(found, expected, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=tolerance)


def test_a_result_stands_on_the_floor_with_its_origin_at_its_foot():
    bpy.context.scene.cursor.location = (1, 2, 3)
    collection = _add()
    bounds, root = _bounds(collection), part(collection, "root")
    _close(root.matrix_world.translation, (1, 2, 3))
    _close(bounds.low[2], 3)
    _close((bounds.low + bounds.high)[:2] / 2, (1, 2))
    _close(bounds.high - bounds.low, (0.8, 0.4, 0.64))


def test_no_result_lies_in_the_default_cube_or_in_another_result():
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    collections = [_add() for _ in range(3)]
    bpy.ops.object.camera_add(location=(20, 0, 0))
    everything = [world_bounds([cube])] + [_bounds(one) for one in collections]
    for number, one in enumerate(everything):
        for other in everything[:number]:
            assert not one.overlaps(other)
    assert all(one.low[2] == pytest.approx(0, abs=1e-5) for one in everything[1:])


def test_a_result_goes_beside_the_last_one_whose_former_shape_was_kept():
    collection = _add()
    part(collection, "root").location.x = 3
    bpy.context.view_layer.update()
    kept = bpy.data.collections.new("crate Former")
    kept["trellis_asset"] = "former"
    collection.children.link(kept)
    beside = _add(standing=Standing(where="beside"))
    bpy.context.view_layer.update()
    assert 3 < part(beside, "root").matrix_world.translation.x < 5


def test_hidden_neighbours_and_instances_count_and_the_ground_does_not():
    bpy.ops.mesh.primitive_plane_add(size=100)
    bpy.ops.mesh.primitive_uv_sphere_add(radius=500)
    _close(part(_add(), "root").matrix_world.translation, (0, 0, 0))
    bpy.data.objects["crate"].hide_set(True)
    second = _bounds(_add())
    assert second.low[0] > 0.4
    away = bpy.data.collections.new("away")
    bpy.ops.mesh.primitive_cube_add(size=1)
    cube = bpy.context.object
    bpy.context.scene.collection.objects.unlink(cube)
    away.objects.link(cube)
    instance = bpy.data.objects.new("instance", None)
    instance.instance_type, instance.instance_collection = "COLLECTION", away
    instance.location = (10, 0, 0)
    bpy.context.scene.collection.objects.link(instance)
    bpy.context.scene.cursor.location = (10, 0, 0)
    assert _bounds(_add()).low[0] > 10.5


def test_what_a_deleted_result_leaves_hidden_is_in_nobodys_way():
    """Deleting what is seen takes the finished mesh and the Empty; the raw mesh and the Gaussians stay."""
    asset = _asset()
    collection = _add(replace(asset, finished=asset.mesh))
    bpy.data.batch_remove([part(collection, "finished"), part(collection, "root")])
    _close(part(_add(), "root").matrix_world.translation, (0, 0, 0))


def test_one_parent_moves_mesh_and_gaussians():
    collection = _add()
    before = _bounds(collection)
    root = part(collection, "root")
    root.location += Vector((1, -2, 0.5))
    after = _bounds(collection)
    _close(after.low - before.low, (1, -2, 0.5))
    for kind in ("mesh", "gaussian"):
        assert part(collection, kind).parent == root
    root.scale *= 2
    _close(_bounds(collection).low[2], after.low[2])  # it grows from its foot


def test_height_in_metres():
    bounds = _bounds(_add(standing=Standing(height=1.75)))
    _close((bounds.low[2], bounds.high[2]), (0, 1.75))


@pytest.mark.parametrize("facing, way", [("right", (1, 0)), ("back", (0, 1)), ("left", (-1, 0))])
def test_the_front_faces_where_it_is_told_to(facing, way):
    front = asset_matrix(_add(standing=Standing(facing=facing))).to_3x3() @ Vector((0, -1, 0))
    _close(front, (*way, 0))


def test_the_foot_goes_where_it_is_told_to():
    bpy.context.scene.cursor.location = (5, 6, 7)
    where = [
        (Standing(where="beside"), (5, 6, 7)),  # there is no former one
        (Standing(where="origin"), (0, 0, 0)),
        (Standing(on_ground=True), (5, 6, 0)),
        (Standing(foot=(1, -9, 2)), (1, -9, 2)),
    ]
    for standing, foot in where:
        _close(part(_add(standing=standing), "root").location, foot)
    x, y, z = part(_add(standing=Standing(where="beside")), "root").location
    _close((y, z), (-9, 2))
    assert x > 1.5


@pytest.mark.parametrize("shear", [0.0, 0.4])
def test_a_result_with_a_place_of_its_own_goes_there(shear):
    matrix = Matrix.LocRotScale(Vector((3, 1, 2)), Matrix.Rotation(0.7, 3, "X").to_quaternion(), (2, 1, 0.5))
    matrix = matrix @ Matrix(((1, shear, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)))
    collection = _add(matrix=matrix)
    bpy.context.view_layer.update()
    _close(asset_matrix(collection), matrix)
    for kind in ("mesh", "gaussian"):
        _close(world_matrix(part(collection, kind)), matrix)


def test_the_unit_cube_is_found_of_a_hidden_mesh():
    collection = _add()
    part(collection, "root").scale = (2, 3, 4)
    part(collection, "mesh").location = (0, 0, 1)
    bpy.context.view_layer.update()
    expected = asset_matrix(collection)
    assert not part(collection, "mesh").hide_viewport
    show(collection, "gaussian")
    part(collection, "root").location = (1, 2, 3)
    bpy.context.view_layer.update()
    moved = Matrix.Translation((1, 2, 3)) @ expected
    _close(asset_matrix(collection), moved)


def _in_the_world(mesh: bpy.types.Object) -> np.ndarray:
    return np.array([mesh.matrix_world @ vertex.co for vertex in mesh.data.vertices])


def _predicted(collection: bpy.types.Collection, asset: Asset) -> np.ndarray:
    bpy.context.view_layer.update()
    matrix = np.array(asset_matrix(collection))
    return asset.mesh["vertices"] @ matrix[:3, :3].T + matrix[:3, 3]


def test_the_unit_cube_follows_objects_and_applied_transforms():
    asset = _asset()
    collection = _add(asset)
    mesh = part(collection, "mesh")
    _close(_predicted(collection, asset), _in_the_world(mesh))
    mesh.rotation_euler, part(collection, "root").scale = (0.1, 0.2, 0.3), (2, 2, 3)
    _close(_predicted(collection, asset), _in_the_world(mesh))
    mesh.data.transform(
        Matrix.LocRotScale((1, 2, 3), Matrix.Rotation(1.0, 3, "Z").to_quaternion(), (2, 1, 1))
    )
    _close(_predicted(collection, asset), _in_the_world(mesh), 1e-4)


def test_the_unit_cube_stays_where_a_part_was_sculpted():
    asset = _asset()
    collection = _add(asset)
    mesh = part(collection, "mesh").data
    before = asset_matrix(collection)
    for vertex in mesh.vertices:
        if vertex.co.z > 0.1:
            vertex.co += Vector((0.1, 0, 0.3))
    assert asset_matrix(collection) == before
    mesh.transform(Matrix.Scale(3, 4))
    moved = _predicted(collection, asset)
    untouched = asset.mesh["vertices"][:, 2] <= 0.1
    _close(moved[untouched], _in_the_world(part(collection, "mesh"))[untouched], 1e-4)


def test_the_unit_cube_is_found_when_vertices_were_deleted():
    import bmesh

    asset = _asset()
    collection = _add(asset)
    mesh = part(collection, "mesh").data
    mesh.transform(Matrix.Scale(2, 4))
    expected = asset_matrix(collection)
    shape = bmesh.new()
    shape.from_mesh(mesh)
    bmesh.ops.delete(shape, geom=[v for v in shape.verts if v.co.x < -0.3], context="VERTS")
    shape.to_mesh(mesh)
    shape.free()
    _close(asset_matrix(collection), expected)


def test_the_box_that_views_turn_to_is_that_of_the_voxels_so_far():
    coords = np.array([[0, 2, 1], [3, 2, 1]], np.int32)
    growing = Growing(("job", 1), Placement("chair"), coords, 4, (1.0, 0.0, 0.0, 0.0), None)
    corners = np.array(corners_of(growing, Matrix.Translation((5, 0, 0)) @ Matrix.Scale(2, 4)))
    assert corners.shape == (8, 3)
    _close(corners.min(axis=0), (4, 0, -0.5))
    _close(corners.max(axis=0), (6, 0.5, 0))


def test_a_view_shows_what_it_turns_to_beside_the_sidebar():
    """What is as wide as the shorter side of the view lies between the bars, in their middle."""
    for width, height, left, right in ((1000, 600, 0, 250), (1000, 600, 50, 250), (600, 900, 40, 280)):
        farther, shift = uncovered(width, height, left, right)
        half = min(width, height) / 2 / farther
        middle = width / 2 - shift * width
        assert middle == pytest.approx(left + (width - left - right) / 2)
        assert left <= middle - half + 1e-9 and middle + half <= width - right + 1e-9
    assert uncovered(1000, 600, 0, 0) == (1.0, 0.0)
    assert uncovered(1000, 600, 50, 250)[0] == 1.0  # 700 pixels are free: nothing has to be drawn smaller
    assert uncovered(300, 600, 40, 280)[0] == pytest.approx(4.0)  # bars over all of it
