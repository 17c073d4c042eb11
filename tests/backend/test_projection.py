"""What of a picture is put onto a surface, and how far it is trusted there."""

import numpy as np
import pytest
import torch
import trimesh

from backend.representations.mesh import Mesh
from backend.texturing.camera import Camera, around
from backend.texturing.painting import place
from backend.texturing.projection import PictureView, projected, see_through_beside
from backend.texturing.settings import TextureSettings
from backend.texturing.texels import Texels, texels_of
from backend.texturing.texture import texture_mesh

SIZE = 512
RED, YELLOW = (200, 30, 40), (240, 220, 30)
PLATE = np.array([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def turned(degrees: float) -> np.ndarray:
    """The plate (4, 3), which looks towards −Y, turned about the upright axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return PLATE @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def texels_on(plate: np.ndarray, size: int = SIZE) -> Texels:
    normal = np.cross(plate[1] - plate[0], plate[2] - plate[0])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    return texels_of(plate, FACES, uv, size, np.tile(normal / np.linalg.norm(normal), (4, 1)), FACES)


def test_faces_are_painted_up_to_their_sharp_edges():
    box = trimesh.creation.box()
    camera = around(box.vertices, np.radians(30), np.radians(5))
    squares = np.indices((256, 256)).sum(axis=0) // 32 % 2 == 0
    picture = np.where(squares[..., None], (*RED, 255), (*YELLOW, 255)).astype(np.uint8)
    shape = Mesh(torch.tensor(box.vertices).float(), torch.tensor(np.asarray(box.faces)))
    textured = texture_mesh(shape, TextureSettings(256), pictures=[PictureView(picture, camera)])
    faces, vertices = textured.faces.numpy(), textured.vertices.numpy()
    normals = np.cross(*np.diff(vertices[faces], axis=1).swapaxes(0, 1))
    normals = np.repeat(normals / np.linalg.norm(normals, axis=1, keepdims=True), 3, axis=0)
    corners = np.arange(len(normals)).reshape(-1, 3)
    texels = texels_of(vertices, faces, textured.uv.numpy(), 256, normals, corners)
    towards = camera.position - texels.position
    seen = (texels.normal * towards).sum(axis=1) / np.linalg.norm(towards, axis=1) > 0.3
    column, row = (camera.project(texels.position[seen])[:, :2] * 256).astype(int).T
    found = textured.image.reshape(-1, 3)[texels.place[seen]].astype(int)
    alike = np.abs(found - picture[row, column, :3]).max(axis=1) < 60
    assert alike.mean() > 0.92


def painted(
    pixels: np.ndarray, plate: np.ndarray = PLATE, camera: Camera | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (P, 3) in levels and trust (P,) of a picture that the plate fills, and where in it each texel
    is seen (P, 2), in pixels.
    """
    camera = camera or around(PLATE, elevation=0.0, box=(0, 0, 1, 1))
    texels = texels_on(plate)
    colors, trust = projected(PictureView(pixels), camera, texels, plate, FACES)
    return colors * 255, trust, camera.project(texels.position)[:, :2] * len(pixels)


def square(soft: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A picture of a red square whose outline fades out over `soft` pixels into black, as matted pictures do,
    and how deep in the outline each pixel is: 0 at the opaque part, 1 where it is clear.
    """
    place = np.abs(np.arange(size) + 0.5 - size / 2)
    depth = (np.maximum.outer(place, place) - size / 4) / soft
    alpha = np.clip(1 - depth, 0, 1)
    color = np.array(RED) * alpha[..., None]
    pixels = np.concatenate([color, alpha[..., None] * 255], axis=-1)
    return pixels.round().astype(np.uint8), depth


def test_a_soft_outline_has_the_colour_of_the_object():
    pixels, _ = square(soft=4)
    colors, trust, seen = painted(pixels)
    depth = (np.abs(seen - 128).max(axis=1) - 64) / 4
    soft = (depth > 0) & (depth < 0.7)
    assert soft.sum() > 1000 and trust[soft].min() == 1
    assert np.abs(colors[soft] - RED).max() < 1
    assert trust[depth > 1].max() == 0


@pytest.mark.parametrize("level", [70, 160])
def test_see_through_parts_keep_their_colour(level):
    pixels = np.tile(np.array([*RED, 255], np.uint8), (256, 256, 1))
    pixels[40:120, 40:120] = *YELLOW, level
    pixels[140:220, 40:120] = *YELLOW, 40  # hardly there: the picture does not tell what the object has
    colors, trust, seen = painted(pixels)

    def within(top: int, left: int, margin: int) -> np.ndarray:
        low = np.array([left + margin, top + margin])
        return ((seen > low) & (seen < low + 80 - 2 * margin)).all(axis=1)

    glass = within(40, 40, margin=4)
    assert trust[glass].min() == 1 and np.abs(colors[glass] - YELLOW).max() < 1
    assert trust[within(140, 40, margin=8)].max() == 0


def test_a_cast_shadow_is_not_painted():
    pixels, _ = square(soft=1)
    fade = np.clip((256 - np.arange(256)) / 64, 0, 1)
    under = slice(193, 256)
    pixels[under, 64:192, 3] = (150 * fade[under])[:, None]
    _, trust, seen = painted(pixels)
    shadow = (np.abs(seen[:, 0] - 128) < 60) & (seen[:, 1] > 195)
    assert shadow.sum() > 1000 and trust[shadow].max() == 0


@pytest.mark.parametrize("level", [90, 200])
def test_an_object_that_is_see_through_all_over_is_painted(level):
    pixels, _ = square(soft=1)
    pixels[pixels[..., 3] > 0] = *YELLOW, level
    colors, trust, seen = painted(pixels)
    inside = np.abs(seen - 128).max(axis=1) < 62
    assert trust[inside].min() == 1 and np.abs(colors[inside] - YELLOW).max() < 1


def test_it_is_told_how_much_is_see_through_and_has_no_mesh():
    camera = around(PLATE, elevation=0.0, box=(0.1, 0.1, 0.5, 0.5))
    pixels = np.zeros((200, 200, 4), np.uint8)
    pixels[20:100, 20:100] = *RED, 255  # the plate
    assert see_through_beside(PictureView(pixels), camera, PLATE, FACES) == 0
    glass = pixels.copy()
    glass[20:100, 100:180] = *RED, 90
    found = see_through_beside(PictureView(glass), camera, PLATE, FACES)
    assert found == pytest.approx(0.5, abs=0.02)
    placed, remarks = place([PictureView(glass, camera)], PLATE, FACES, None)
    assert len(placed) == 1 and "50% of the object in picture 1 is see-through" in remarks[0]
    on_it, soft, beside = pixels.copy(), pixels.copy(), pixels.copy()
    on_it[40:80, 40:80, 3] = 90
    soft[20:100, 100:103] = *RED, 90  # an outline
    beside[20:100, 100:180] = *RED, 255  # what lacks otherwise is another matter
    for one in (on_it, soft, beside):
        assert see_through_beside(PictureView(one), camera, PLATE, FACES) < 0.02
        assert not place([PictureView(one, camera)], PLATE, FACES, None)[1]


def test_a_picture_is_trusted_up_to_two_thousandths_of_it_from_a_silhouette():
    camera = around(PLATE, elevation=0.0, box=(0.1, 0.1, 0.9, 0.9))
    pixels = np.tile(np.array([*RED, 255], np.uint8), (256, 256, 1))
    texels = texels_on(PLATE, 1024)
    _, trust = projected(PictureView(pixels), camera, texels, PLATE, FACES)
    inwards = 0.4 - np.abs(camera.project(texels.position)[:, :2] - 0.5).max(axis=1)
    assert trust[inwards > 0.0025].min() == 1
    narrow = (inwards > 0.0012) & (inwards < 0.002)
    assert narrow.sum() > 100 and 0 < trust[narrow].mean() < 1


@pytest.mark.parametrize(("degrees", "least", "most"), [(60, 1, 1), (79, 1, 1), (84, 0.1, 0.9), (87.5, 0, 0)])
def test_surfaces_are_painted_until_they_are_seen_at_a_grazing_angle(degrees, least, most):
    pixels = np.tile(np.array([*RED, 255], np.uint8), (256, 256, 1))
    camera = Camera(0.0, 0.0, 50.0, 50.0)  # so far away that it sees every place from the same side
    _, trust, _ = painted(pixels, turned(degrees), camera)
    middle = trust.reshape(SIZE, SIZE)[SIZE // 4 : -SIZE // 4, SIZE // 2]
    assert least <= middle.min() and middle.max() <= most


@pytest.mark.parametrize("size", [70, 100, 215])
def test_texels_larger_than_pixels_show_the_mean_of_those(size):
    """Also where they are no whole number of pixels large: of fine checks, grey."""
    checks = np.indices((310, 310)).sum(axis=0) % 2 * 255
    pixels = np.concatenate([np.repeat(checks[..., None], 3, axis=2), np.full((310, 310, 1), 255)], axis=2)
    camera = around(PLATE, elevation=0.0, box=(0, 0, 1, 1))
    view = PictureView(pixels.astype(np.uint8), camera)
    colors, trust = projected(view, camera, texels_on(PLATE, size), PLATE, FACES)
    assert np.abs(colors[trust == 1] - 0.5).max() < 0.25  # as pixels: 0.5
