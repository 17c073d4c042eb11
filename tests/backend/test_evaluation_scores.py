"""Scores of shapes and pictures whose numbers are known."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from training_shapes import cube, save, sphere

pytest.importorskip("numba")

from backend.checkpoints.model_folder import open_folder
from backend.evaluation.baselines import Retrieval, mean_shape
from backend.evaluation.cases import scored_cases
from backend.evaluation.prediction import Prediction, Reconstruction, placed, predict
from backend.evaluation.scores import KEYS, Truth, mean_scores, mesh_renders, score
from backend.evaluation.training_shapes import Shape, mean_occupancy, read_shapes, simplified, write_shapes
from backend.geometry.mesh_files import read_catalogue
from backend.geometry.render import focal_length
from backend.geometry.splat_render import LOW_PASS, render_gaussians
from backend.geometry.views import LONGEST_SIDE, align, fixed_view, turned
from backend.geometry.voxelize import EMPTY, boundary, sampled_occupancy
from backend.measures.comparison import LARGEST_PSNR, iou, psnr, ssim, surface_scores, voxel_f_score
from backend.measures.unit_cube import Placement, place_gaussians, placement, unit_occupancy
from backend.representations.gaussians import SH_C0, Gaussians, covariance
from backend.representations.mesh import Mesh


def box(low, high, size=64) -> np.ndarray:
    occupied = np.zeros((size,) * 3, bool)
    occupied[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return occupied


def test_overlap_of_boxes():
    a, b = box((0, 0, 0), (32, 8, 8)), box((16, 0, 0), (48, 8, 8))
    assert iou(a, b) == pytest.approx(1 / 3)
    assert iou(a, a) == 1 and iou(a, ~a) == 0 and iou(a & ~a, a & ~a) == 0
    # 3 voxels are 0.047 and 4 are 0.0625: of each 16 slices without counterpart 3 are near enough.
    assert voxel_f_score(a, b) == pytest.approx((16 + 3) / 32)
    assert voxel_f_score(a, a) == 1 and voxel_f_score(a, a & ~a) == 0


def test_the_voxel_f_score_is_that_of_the_centres():
    rng = np.random.default_rng(0)
    a, b = (rng.random((20, 20, 20)) < 0.004 for _ in range(2))
    points = [(np.argwhere(one) + 0.5) / 20 for one in (a, b)]
    shares = [(cKDTree(points[1 - n]).query(points[n])[0] < 0.12).mean() for n in range(2)]
    assert voxel_f_score(a, b, 0.12) == pytest.approx(2 * shares[0] * shares[1] / sum(shares))


def test_an_occupancy_fills_the_unit_cube():
    small = box((10, 20, 30), (26, 28, 34))
    expected = box((1, 16, 24), (63, 48, 40))  # the frame ends half a voxel before the cube
    assert (unit_occupancy(small) == expected).all()
    sideways = unit_occupancy(small, math.pi / 2)
    assert (sideways == expected.transpose(1, 0, 2)).all()
    coarse = box((10, 20, 10), (26, 28, 14), size=32)
    assert (unit_occupancy(coarse) == expected).all()
    assert not unit_occupancy(np.zeros((64,) * 3, bool)).any()


def test_equal_surfaces_score_one():
    for asset in (cube(), sphere(rings=32)):
        scores = surface_scores(asset, asset)
        assert scores == {"fscore_005": 1, "fscore_002": 1, "chamfer": 0}
    empty = surface_scores(EMPTY, cube())
    assert empty == {"fscore_005": 0, "fscore_002": 0, "chamfer": 1}


def test_spheres_of_two_sizes_are_apart_by_the_difference():
    large, small = sphere(0.5, rings=48), sphere(0.46, rings=48)
    scores = surface_scores(small, large)
    assert scores["chamfer"] == pytest.approx(0.04, abs=0.003)
    assert scores["fscore_005"] == 1 and scores["fscore_002"] == 0


def test_picture_scores_of_plain_pictures():
    a, b = np.full((32, 32, 3), 0.5), np.full((32, 32, 3), 0.6)
    assert psnr(a, b) == pytest.approx(20) and psnr(a, a) == LARGEST_PSNR
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(a, b) == pytest.approx((2 * 0.3 + 1e-4) / (0.25 + 0.36 + 1e-4))
    noise = np.random.default_rng(0).random((2, 64, 64, 3))
    assert abs(ssim(noise[0], noise[1])) < 0.1


def splat(position, scale, rotation=(1.0, 0.0, 0.0, 0.0), color=(0.9, 0.5, 0.2), opacity=0.8) -> Gaussians:
    color_dc = (torch.tensor([color]) - 0.5) / SH_C0
    return Gaussians(
        torch.tensor([position]),
        color_dc,
        torch.tensor([[opacity]]),
        torch.tensor([scale]),
        torch.tensor([rotation]),
    )


def test_a_splat_is_where_it_should_be_and_as_wide():
    size, sigma = 128, 0.05
    view = fixed_view(0.0, math.radians(20), math.radians(40))
    image = render_gaussians(splat((0.2, 0.0, 0.1), (sigma,) * 3), view, size)
    c, s = math.cos(view.elevation), math.sin(view.elevation)
    depth = view.distance - 0.1 * s
    focal = focal_length(view) * size
    column, row = 0.2 / depth * focal + size / 2, -0.1 * c / depth * focal + size / 2
    # Off the axis a ball is seen a little stretched, which the Jacobian holds too.
    jacobian = np.array(
        [[focal / depth, 0, -focal * 0.2 / depth**2], [0, -focal / depth, focal * 0.1 * c / depth**2]]
    )
    cov = sigma**2 * jacobian @ jacobian.T + LOW_PASS * np.eye(2)
    y, x = np.mgrid[:size, :size] + 0.5
    offset = np.stack([x - column, y - row], axis=-1)
    power = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(cov), offset)
    alpha = 0.8 * np.exp(-power / 2)
    expected = np.where(alpha >= 1 / 255, alpha, 0)[..., None] * np.array([0.9, 0.5, 0.2])
    inside = power < 8  # the renderer cuts at three deviations along the axes
    assert np.abs(image - expected)[inside].max() < 1e-3
    assert image[power > 20].max() == 0


def test_splats_behind_the_camera_are_not_seen():
    view, size = fixed_view(0.0, 0.0, math.radians(40)), 64
    middle, behind = splat((0.0, 0.0, 0.0), (0.1,) * 3), splat((0.0, -2 * view.distance, 0.0), (0.1,) * 3)
    both = render_gaussians(together(middle, behind), view, size)
    assert np.array_equal(both, render_gaussians(middle, view, size))


def together(*parts: Gaussians) -> Gaussians:
    names = ("position", "color_dc", "opacity", "scale", "rotation")
    return Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def test_the_nearer_splat_covers_the_farther_one():
    near, far = (
        splat((0.0, -0.3, 0.0), (0.1,) * 3, opacity=0.99),
        splat((0.0, 0.3, 0.0), (0.1,) * 3, color=(0, 0, 1)),
    )
    image = render_gaussians(together(far, near), fixed_view(0.0, 0.0, math.radians(40)), 64)
    assert image[32, 32] == pytest.approx([0.9, 0.5, 0.2], abs=0.03)


def test_splats_turn_with_the_object():
    long = splat((0.3, 0.0, 0.1), (0.2, 0.02, 0.01))
    moved = place_gaussians(long, Placement(math.pi / 2, 2.0, (0.0, 0.0, 0.5)))
    expected = align(np.array([[0.3, 0.0, 0.1], [-0.3, 0.0, -0.1]]), math.pi / 2)[0]
    assert float(moved.position[0, 1]) * expected[1] > 0 and abs(moved.position[0, 0]) < 1e-6
    assert moved.position[0].abs().tolist() == pytest.approx([0, 0.6, 0.7], abs=1e-5)
    xx, _, _, yy, _, zz = covariance(moved)[0].tolist()
    assert [xx, yy, zz] == pytest.approx([0.04**2, 0.4**2, 0.02**2], rel=1e-3)


def test_a_mesh_drawn_unlit_shows_its_base_colour():
    for picture in mesh_renders(sphere(color=(200, 100, 50))):
        assert picture.shape == (256, 256, 3)
        assert picture[128, 128] == pytest.approx(np.array([200, 100, 50]) / 255, abs=1e-3)
        assert picture[0, 0].max() == 0
    assert [picture.shape for picture in mesh_renders(EMPTY)] == [(256, 256, 3)] * 4
    assert not np.any(mesh_renders(EMPTY))


def test_points_and_their_placement_go_back_and_forth():
    points = np.random.default_rng(0).normal(size=(50, 3)) * [3, 1, 2] + 7
    where = placement(points, 0.7)
    placed = where.apply(points)
    assert np.ptp(placed, axis=0).max() == pytest.approx(LONGEST_SIDE)
    assert np.abs(placed.min(0) + placed.max(0)).max() < 1e-9
    assert np.abs(where.invert(placed) - points).max() < 1e-9
    assert np.abs(placed - align(points, 0.7)).max() < 1e-9


def test_the_boundary_of_voxels_is_closed_and_faces_out():
    asset = boundary(box((4, 4, 4), (6, 7, 8), size=16))
    a, b, c = (asset.vertices[asset.faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a) / 2
    assert np.linalg.norm(normal, axis=1).sum() == pytest.approx(2 * (6 + 8 + 12) / 256)
    assert (normal * a).sum() / 3 == pytest.approx(24 / 16**3)


WEDGE = Shape(
    np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 2], [3, 0, 0.5]], np.float32),
    np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 4, 3], [1, 2, 4], [2, 3, 4]], np.int32),
)
SHAPES = (Shape(cube().vertices, cube().faces), Shape(sphere().vertices, sphere().faces), WEDGE)


def test_retrieval_finds_the_shape_and_the_side(tmp_path):
    retrieval = Retrieval(SHAPES, threads=1)
    assert len(retrieval) == 3 * 16 * 3
    save(sphere(radius=2.0, rings=16), tmp_path / "ball.npz")
    (entry,) = read_catalogue(tmp_path)
    (case,) = scored_cases(entry, 1, 0)
    found = retrieval.nearest(case.cutout)
    assert score(found, Truth(case.scene))["fscore_005"] > 0.99
    drawn = np.zeros((100, 100, 4), np.uint8)
    drawn[20:80, 10:90] = 255
    assert retrieval.nearest(Image.fromarray(drawn)).mesh.faces.shape[1] == 3


def test_the_mean_shape_of_balls_is_a_ball():
    made = mean_shape(mean_occupancy([SHAPES[1]] * 3, threads=2))
    y = np.argwhere(made.occupied) - 31.5
    assert np.linalg.norm(y, axis=1).min() > 29 and np.linalg.norm(y, axis=1).max() < 34
    assert len(made.mesh.faces) > 1000 and made.gaussians is None


def test_the_mean_occupancy_is_not_stretched_to_fill_the_cube():
    """Of rods laid in all directions the ends lie apart and only the middles together."""
    rod = cube()
    rod.vertices[:, 1:] *= 0.1
    places = np.argwhere(mean_occupancy([Shape(rod.vertices, rod.faces)], threads=1))
    assert places[:, :2].min() > 8 and places[:, :2].max() < 55
    assert places[:, 2].min() >= 27 and places[:, 2].max() <= 36


def test_the_written_training_shapes_come_back_and_name_their_sources(tmp_path):
    train = tmp_path / "train"
    train.mkdir()
    for name, asset in (("ball", sphere()), ("crate", cube())):
        save(asset, train / f"{name}.npz")
    shapes = write_shapes(read_catalogue(train), tmp_path / "shapes.npz.xz", threads=1).shapes
    assert [len(one.faces) for one in shapes] == [len(simplified(SHAPES[1]).faces), 12]
    for shape, asset in zip(read_shapes(tmp_path / "shapes.npz.xz").shapes, (sphere(), cube()), strict=True):
        placed = align(shape.vertices, 0.0)
        assert (
            surface_scores(dataclasses.replace(asset, vertices=placed, faces=shape.faces), asset)[
                "fscore_005"
            ]
            > 0.999
        )
    assert "2 training objects" in (tmp_path / "shapes.md").read_text()


def test_every_view_of_an_object_follows_from_seed_and_name(tmp_path):
    save(cube(), tmp_path / "crate.npz")
    (entry,) = read_catalogue(tmp_path)
    first, second = scored_cases(entry, 2, 5)
    assert math.degrees(first.scene.view.azimuth) == pytest.approx(35)
    again, other = scored_cases(entry, 2, 5)[1], scored_cases(entry, 2, 6)[1]
    assert second.scene.view == again.scene.view != other.scene.view


def test_a_perfect_prediction_and_an_empty_one(tmp_path):
    save(sphere(rings=32), tmp_path / "ball.npz")
    (entry,) = read_catalogue(tmp_path)
    (case,) = scored_cases(entry, 1, 0)
    truth = Truth(case.scene)
    perfect = score(Prediction(truth.occupied, truth.mesh), truth)
    assert (
        tuple(perfect) == KEYS and perfect["iou"] == perfect["voxel_fscore_005"] == perfect["fscore_005"] == 1
    )
    assert perfect["psnr"] is None and perfect["seconds"] is None
    nothing = score(Prediction(truth.occupied & False, EMPTY, None, 1.0), truth)
    assert nothing["iou"] == nothing["fscore_005"] == 0 and nothing["psnr"] > 0
    assert mean_scores([perfect, nothing])["fscore_005"] == 0.5
    assert mean_scores([perfect, perfect])["psnr"] is None


@pytest.fixture
def slab_case(tmp_path):
    """A slab, longer than wide, from azimuth 35°."""
    slab = sphere(rings=24)
    slab.vertices[:] *= [1.0, 0.4, 0.6]
    save(slab, tmp_path / "slab.npz")
    (case,) = scored_cases(read_catalogue(tmp_path)[0], 1, 0)
    return case


def made_of(vertices, faces, resolution=64) -> Reconstruction:
    """What a model would give that made this very surface (V, 3): voxels, mesh, and a Gaussian a vertex."""
    position = torch.from_numpy(vertices).float()
    count = len(position)
    color = torch.tensor([50, 100, 200]) / 255  # as the sphere's
    gaussians = Gaussians(
        position,
        ((color - 0.5) / SH_C0).expand(count, 3),
        torch.full((count, 1), 0.99),
        torch.full((count, 3), 0.012),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(count, 4),
    )
    occupied = torch.from_numpy(sampled_occupancy(vertices, faces, resolution))
    return Reconstruction(occupied, Mesh(position, torch.from_numpy(faces).long()), gaussians, 1.0)


def predicted_by(tiny_model, monkeypatch, case, encoder: str, result: Reconstruction) -> Prediction:
    """What is scored of a result of a model with that image encoder."""
    monkeypatch.setattr("backend.evaluation.prediction.reconstruct", lambda *_: result)
    folder = dataclasses.replace(open_folder(tiny_model), image_cond_model=encoder)
    return predict(SimpleNamespace(folder=folder), case, seed=1)


def test_what_a_view_aligned_model_makes_is_compared_as_it_stands(tiny_model, monkeypatch, slab_case):
    scene, truth = slab_case.scene, Truth(slab_case.scene)

    def scored(vertices: np.ndarray) -> dict:
        result = made_of(vertices, scene.faces)
        prediction = predicted_by(tiny_model, monkeypatch, slab_case, "ckpts/image_encoder", result)
        assert (prediction.occupied == result.occupied.numpy()).all()
        assert np.abs(prediction.mesh.vertices - vertices).max() < 1e-6
        assert torch.equal(prediction.gaussians.position, result.gaussians.position)
        assert torch.equal(prediction.gaussians.scale, result.gaussians.scale)
        return score(prediction, truth)

    perfect = scored(scene.vertices)
    assert perfect["iou"] == perfect["voxel_fscore_005"] == perfect["fscore_002"] == 1
    assert perfect["chamfer"] < 1e-6
    shifted = scored(scene.vertices + [0.0, 0.05, 0.0])
    for scores in (shifted, scored(scene.vertices * 0.85), scored(turned(scene.vertices, 0.3))):
        assert scores["iou"] < 0.5 and scores["fscore_002"] < 0.9 and scores["chamfer"] > 0.01
    assert shifted["psnr"] < perfect["psnr"] - 0.5


def test_what_a_published_model_makes_is_turned_and_fills_the_cube(tiny_model, monkeypatch, slab_case):
    scene, truth = slab_case.scene, Truth(slab_case.scene)
    modelled = turned(scene.vertices, -scene.view.azimuth) * 0.7 + [0.1, 0.0, -0.05]
    result = made_of(modelled, scene.faces)
    prediction = predicted_by(tiny_model, monkeypatch, slab_case, "dinov2_vitl14_reg", result)
    assert np.abs(prediction.mesh.vertices - scene.vertices).max() < 1e-6
    assert np.abs(prediction.gaussians.position.numpy() - scene.vertices).max() < 1e-6
    assert prediction.gaussians.scale.numpy() == pytest.approx(0.012 / 0.7)
    scores = score(prediction, truth)
    assert scores["fscore_002"] == 1 and scores["voxel_fscore_005"] > 0.98
    as_it_stands = predicted_by(tiny_model, monkeypatch, slab_case, "ckpts/image_encoder", result)
    assert score(as_it_stands, truth)["fscore_005"] < 0.8


def test_a_coarser_structure_is_split_and_a_missing_mesh_is_empty():
    coarse = box((2, 3, 4), (9, 12, 30), size=32)
    prediction = placed(Reconstruction(torch.from_numpy(coarse), None, None, 1.0), None, 1.5)
    assert (prediction.occupied == box((4, 6, 8), (18, 24, 60))).all()
    assert len(prediction.mesh.faces) == 0 and prediction.gaussians is None and prediction.seconds == 1.5
