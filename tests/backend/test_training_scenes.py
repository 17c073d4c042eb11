"""Pictures, voxels and distances of known shapes, and the rules by which views are drawn."""

import dataclasses
import math

import numpy as np
import pytest
from training_shapes import cube, save, sphere

from backend.errors import UserError
from backend.geometry.mesh_files import Entry, group_weights, load_asset, read_catalogue, spread_over_families
from backend.geometry.render import draw_cutout
from backend.geometry.scene import make_scene, picture
from backend.geometry.surface import distance_field, nearest_points
from backend.geometry.views import (
    HELD_OUT_SECTOR,
    LONGEST_SIDE,
    align,
    fixed_view,
    held_out_azimuth,
    held_out_view,
    training_view,
)
from backend.geometry.voxelize import sampled_occupancy, voxelize
from backend.lifting.mesh_features import voxel_features
from backend.training.dataset import ObjectSource, grown


@pytest.mark.parametrize("azimuth, elevation", [(0.3, 0.0), (1.2, 0.5), (2.9, 0.7)])
def test_in_the_frame_the_object_fills_the_cube_however_the_camera_stands(azimuth, elevation):
    wide, deep = cube(), cube()
    wide.vertices[:, 1] *= 0.2
    deep.vertices[:, [0, 2]] *= 0.2
    for asset in (wide, deep):
        asset.vertices[:] = asset.vertices * 3 + [1.0, 2.0, 3.0]
        view = fixed_view(azimuth, elevation, math.radians(40))
        scene = make_scene("box", asset, view)
        low, high = scene.vertices.min(axis=0), scene.vertices.max(axis=0)
        assert (high - low).max() == pytest.approx(LONGEST_SIDE)
        assert low + high == pytest.approx(np.zeros(3), abs=1e-9)
        # The object is turned about the vertical alone: proportions stay, and so does what is up.
        assert np.ptp(scene.vertices[:, 2]) / np.ptp(asset.vertices[:, 2]) == pytest.approx(
            np.linalg.norm(scene.vertices[7] - scene.vertices[0])
            / np.linalg.norm(asset.vertices[7] - asset.vertices[0])
        )
        nearer = dataclasses.replace(view, elevation=0.1, fov=0.5, distance=2.0)
        assert (make_scene("box", asset, nearer).vertices == scene.vertices).all()
        flipped = make_scene("box", asset, dataclasses.replace(view, mirror=True))
        assert (flipped.vertices == scene.vertices * [-1, 1, 1]).all()
        assert (flipped.faces == scene.faces[:, ::-1]).all()


def test_a_sphere_is_drawn_as_the_disc_that_perspective_makes_of_it():
    view = fixed_view(0.0, math.radians(30), math.radians(40))
    image = picture(make_scene("ball", sphere(), view), 128)
    covered = (image.max(axis=0) > 0).sum()
    # The crop is the silhouette times 1.2, and a sphere in the middle of the picture is a disc.
    assert covered == pytest.approx(math.pi * (128 / 1.2 / 2) ** 2, rel=0.02)
    rows, columns = np.nonzero(image.max(axis=0) > 0)
    assert abs(rows.mean() - 63.5) < 0.5 and abs(columns.mean() - 63.5) < 0.5


def test_nearer_faces_hide_farther_ones():
    scene = make_scene("cube", cube(), fixed_view(0.0, 0.0, math.radians(40)))
    front = scene.vertices[scene.faces][:, :, 1].max(axis=1) < -0.48
    scene.corner_colors[:] = 0
    scene.corner_colors[front] = 255
    image = picture(scene, 64)
    assert image[:, 32, 32].min() > 0.5


def test_the_azimuth_turns_the_camera_counter_clockwise_seen_from_above():
    right = np.array([[0.5, 0.0, 0.0], [-0.5, 0, 0], [0, 0, 0.5], [0, 0, -0.5]])
    # A camera at 90° stands on +X, so what lay on +X is now nearest to it, on −Y.
    assert align(right, math.pi / 2)[0] == pytest.approx([0.0, -LONGEST_SIDE / 2, 0.0], abs=1e-9)


def test_aligning_makes_the_longest_side_that_of_the_frame_and_centres():
    moved = np.random.default_rng(0).normal(size=(50, 3)) * [3, 1, 2] + 7
    low, high = align(moved, 0.7).min(axis=0), align(moved, 0.7).max(axis=0)
    assert (high - low).max() == pytest.approx(LONGEST_SIDE)
    assert low + high == pytest.approx(np.zeros(3), abs=1e-9)


def test_training_never_looks_from_the_held_out_sector_and_evaluation_always_does():
    rng = np.random.default_rng(0)
    centre = held_out_azimuth("chair")

    def away(azimuth: float) -> float:
        return abs((azimuth - centre + math.pi) % (2 * math.pi) - math.pi)

    assert min(away(training_view("chair", rng).azimuth) for _ in range(500)) >= HELD_OUT_SECTOR / 2
    assert max(away(held_out_view("chair", rng).azimuth) for _ in range(100)) < HELD_OUT_SECTOR / 2


def test_a_cube_is_voxelised_as_its_shell():
    asset = cube(side=0.5)
    expected = np.zeros((16, 16, 16), bool)
    expected[4:13, 4:13, 4:13] = True  # the faces at ±0.25 lie on voxel borders and belong to the upper voxel
    expected[5:12, 5:12, 5:12] = False
    assert (sampled_occupancy(asset.vertices.astype(np.float64), asset.faces, 16) == expected).all()
    touched = voxelize(asset.vertices, asset.faces, 16, normalise=False)
    assert np.array_equal(touched, np.argwhere(expected))


def test_distances_to_a_cube_are_exact_and_negative_inside():
    asset = cube(side=0.5)
    field = distance_field(asset.vertices.astype(np.float64), asset.faces, 16, band=3.0)
    assert field.distance[8, 8, 3] == pytest.approx(1.0)
    assert field.distance[8, 8, 5] == pytest.approx(-1.0)
    assert field.distance[3, 3, 3] == pytest.approx(math.sqrt(3))
    assert field.distance[8, 8, 8] == pytest.approx(-3.0)  # beyond the band
    assert field.distance[0, 0, 0] == pytest.approx(3.0)


def test_a_gap_narrower_than_half_a_cell_does_not_turn_the_inside_out():
    asset = cube(side=0.5)
    vertices = asset.vertices.astype(np.float64)[asset.faces].reshape(-1, 3)
    faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    vertices[faces[0]] += [0.0, 0.0, 0.01]
    field = distance_field(vertices, faces, 16, band=3.0)
    assert field.distance[8, 8, 8] < 0


def test_an_open_sheet_has_no_inside():
    asset = cube(side=0.5)
    field = distance_field(asset.vertices.astype(np.float64), asset.faces[:2], 16, band=3.0)
    assert field.distance.min() >= 0


def test_the_nearest_point_of_a_face_carries_its_colour_and_normal():
    asset = cube(side=0.5, color=(255, 0, 51))
    top = np.array([int(f) for f in range(12) if (asset.vertices[asset.faces[f], 2] > 0).all()][:1])
    point, color, normal = nearest_points(
        np.array([[0.1, 0.0, 0.4]]), top, asset.vertices.astype(np.float64), asset.faces, asset.corner_colors
    )
    assert point[0, 2] == pytest.approx(0.25)
    assert color[0] == pytest.approx([1.0, 0.0, 0.2])
    assert normal[0] == pytest.approx([0.0, 0.0, 1.0])


def test_features_say_on_which_side_of_the_surface_a_voxel_lies():
    scene = make_scene("cube", cube(), fixed_view(0.0, 0.0, 0.7))
    bottom = int((scene.vertices[:, 2].min() + 0.5) * 16)
    distance = voxel_features(scene, np.array([[8, 8, bottom], [8, 8, 8]], np.int32), 16)[:, :27]
    assert distance.shape == (2, 27)
    assert distance[0].min() < 0 < distance[0].max() + 0.2
    assert (distance[1] == -1).all()


def test_grown_structures_stay_near_the_surface():
    scene = make_scene("ball", sphere(), fixed_view(0.0, 0.0, 0.7))
    occupied = sampled_occupancy(scene.vertices, scene.faces, 16)
    for seed in range(5):
        extra = np.argwhere(grown(occupied, np.random.default_rng(seed)) & ~occupied)
        if len(extra):
            gaps = np.abs(extra[:, None] - np.argwhere(occupied)[None]).sum(-1).min(1)
            assert gaps.max() <= 2


def test_scenes_depend_on_seed_and_step_alone(tmp_path):
    save(cube(), tmp_path / "cube.npz")
    save(sphere(), tmp_path / "ball.npz")
    first, again = (ObjectSource(read_catalogue(tmp_path), seed=3) for _ in range(2))
    again.scene(0)
    a, b = first.scene(7, 1)[0], again.scene(7, 1)[0]
    assert a.name == b.name and a.view == b.view and (a.vertices == b.vertices).all()
    assert first.scene(8, 1)[0].view != a.view


def test_variants_of_one_shape_share_one_share(tmp_path):
    rows = ["file,id,geo_group,family,brand,licence,attribution"]
    rows += [
        f"train/{n}.npz,{n},{group},thing,0,CC0-1.0," for n, group in (("a", "1"), ("b", "1"), ("c", "2"))
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    assert group_weights(read_catalogue(tmp_path)) == pytest.approx([0.25, 0.25, 0.5])


def test_a_mesh_of_another_format_is_read_upright(tmp_path):
    import trimesh

    box = trimesh.creation.box(extents=(1, 2, 3))  # in a y-up file 2 is the height
    box.export(tmp_path / "box.glb")
    asset = load_asset(tmp_path / "box.glb")
    assert np.ptp(asset.vertices, axis=0) == pytest.approx([1, 3, 2])


def test_bad_data_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_catalogue(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no meshes"):
        read_catalogue(tmp_path)
    (tmp_path / "broken.stl").write_bytes(b"solid nonsense")
    with pytest.raises(UserError, match="broken"):
        load_asset(tmp_path / "broken.stl")


def test_a_cutout_is_a_picture_with_alpha():
    image = draw_cutout(sphere(), fixed_view(0.0, 0.2, 0.7))
    assert image.mode == "RGBA" and image.size == (512, 512)
    assert image.getpixel((0, 0))[3] == 0 and image.getpixel((256, 256))[3] == 255


def test_one_object_a_family_and_no_brands_are_shown(tmp_path):
    entries = tuple(
        Entry(tmp_path, f"{family}{n}", f"{family}{n}", family, brand=n == 0)
        for family in ("cup", "car", "cat", "cot")
        for n in range(5)
    )
    core = spread_over_families(entries, 3)
    assert len({entry.family for entry in core}) == 3 and not any(entry.brand for entry in core)
