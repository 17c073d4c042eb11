"""Remove Shading: objects whose paint is known, under a hard light from the side."""

import numpy as np
import pytest
import torch
import trimesh

from backend.geometry.mesh_files import Asset
from backend.geometry.render import cutout, render
from backend.geometry.views import Light, View
from backend.representations.mesh import Mesh
from backend.texturing.camera import Camera, around
from backend.texturing.delight import without_shading
from backend.texturing.projection import PictureView
from backend.texturing.settings import TextureSettings
from backend.texturing.texels import corner_values, texels_of
from backend.texturing.texture import texture_mesh

SIDE = Light((-0.9 / 1.03, -0.3 / 1.03, 0.4 / 1.03), 0.3, 0.7)
NONE = Light((0.0, -1.0, 0.0), 1.0, 0.0)
ELEVATION = 0.3
DISTANCE = 3.0


def ball_of_two_paints() -> tuple[trimesh.Trimesh, np.ndarray]:
    shape = trimesh.creation.icosphere(4, radius=0.45)
    striped = np.sin(shape.vertices[:, 2] * 25) > 0
    return shape, np.where(striped[:, None], [0.8, 0.3, 0.2], [0.3, 0.4, 0.7])


def white_ball_with_a_black_spot() -> tuple[trimesh.Trimesh, np.ndarray]:
    """Both without a hue: only how far apart they are tells paint from light."""
    shape = trimesh.creation.icosphere(4, radius=0.45)
    spot = np.linalg.norm(shape.vertices - [0.15, -0.4, 0.1], axis=1) < 0.18
    return shape, np.where(spot[:, None], 0.08, [0.8, 0.8, 0.8])


def grey_figure() -> tuple[trimesh.Trimesh, np.ndarray]:
    """A body, a head and a foot with flat sides, all of one paint."""
    body = trimesh.creation.capsule(height=0.4, radius=0.15).apply_translation([0, 0, -0.2])
    head = trimesh.creation.icosphere(2, radius=0.14).apply_translation([0, -0.05, 0.4])
    foot = trimesh.creation.box([0.6, 0.4, 0.1]).apply_translation([0, 0, -0.42])
    shape = trimesh.util.concatenate([body, head, foot.subdivide()])
    return shape, np.full((len(shape.vertices), 3), [0.7, 0.65, 0.5])


def picture_of(shape: trimesh.Trimesh, colors: np.ndarray, light: Light) -> tuple[np.ndarray, Camera]:
    faces = np.asarray(shape.faces)
    corners = (colors[faces] * 255).round().astype(np.uint8)
    asset = Asset(
        shape.vertices.astype(np.float32), faces.astype(np.int32), corners, np.ones(len(faces), bool)
    )
    view = View(0.0, ELEVATION, 0.6, DISTANCE, light)
    fov = 2 * np.arcsin(np.sqrt(0.75) / DISTANCE)
    return np.asarray(cutout(render(asset, view, 384))), around(shape.vertices, 0.0, ELEVATION, fov)


def likeness(shape: trimesh.Trimesh, colors: np.ndarray, light: Light, delight: bool) -> float:
    """PSNR in dB of the texture against the paint, where the picture shows it at less than 70°."""
    pixels, camera = picture_of(shape, colors, light)
    mesh = Mesh(torch.tensor(shape.vertices).float(), torch.tensor(np.asarray(shape.faces)))
    textured = texture_mesh(
        mesh, TextureSettings(256, delight=delight), pictures=[PictureView(pixels, camera)]
    )
    faces = textured.faces.numpy()
    texels = texels_of(
        textured.vertices.numpy(),
        faces,
        textured.uv.numpy(),
        len(textured.image),
        textured.normals.numpy(),
        faces,
    )
    truth = corner_values(colors[textured.origin.numpy()], faces, texels)
    towards = camera.position - texels.position
    cosine = (texels.normal * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)
    error = (textured.image.reshape(-1, 3)[texels.place] / 255 - truth)[cosine > 0.35]
    return float(-10 * np.log10((error**2).mean()))


@pytest.mark.parametrize("thing", [ball_of_two_paints, white_ball_with_a_black_spot, grey_figure])
def test_a_texture_comes_closer_to_the_paint_under_a_hard_light_from_the_side(thing):
    shape, colors = thing()
    before, after = (likeness(shape, colors, SIDE, delight) for delight in (False, True))
    assert after > before + 6


@pytest.mark.parametrize("thing", [ball_of_two_paints, white_ball_with_a_black_spot, grey_figure])
def test_a_picture_without_shading_keeps_its_paint(thing):
    shape, colors = thing()
    assert likeness(shape, colors, NONE, delight=True) > min(28, likeness(shape, colors, NONE, False) - 1)


def test_hues_and_transparency_stay():
    shape, colors = ball_of_two_paints()
    pixels, camera = picture_of(shape, colors, SIDE)
    flat = without_shading(pixels, camera, shape.vertices, np.asarray(shape.faces))
    assert (flat[..., 3] == pixels[..., 3]).all()
    opaque = (
        (pixels[..., 3] == 255) & (flat[..., :3].max(axis=-1) < 255) & (pixels[..., :3].min(axis=-1) > 20)
    )
    before, after = (
        values[opaque][:, :3] / values[opaque][:, :3].sum(axis=1, keepdims=True)
        for values in (pixels.astype(float), flat.astype(float))
    )
    assert np.abs(before - after).max() < 0.03


def test_a_picture_that_the_mesh_does_not_meet_stays_as_it_is():
    shape, colors = ball_of_two_paints()
    pixels, camera = picture_of(shape, colors, SIDE)
    empty = np.concatenate([pixels[..., :3], np.zeros_like(pixels[..., 3:])], axis=-1)
    assert (without_shading(empty, camera, shape.vertices, np.asarray(shape.faces)) == empty).all()
