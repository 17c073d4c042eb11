"""The picture of an asset shows it from the side that its model expects."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from backend.geometry.portrait import portrait
from backend.image import cut_out, open_picture
from backend.picture import main as picture_main
from backend.representations.mesh import Mesh

RED, BLUE = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]


def box() -> Mesh:
    """A box, red where x is negative and blue where it is positive, with a green back."""
    mesh = trimesh.creation.box([0.9, 0.5, 0.6]).subdivide().subdivide()
    colors = np.where(mesh.vertices[:, :1] < 0, RED, BLUE)
    colors[mesh.vertices[:, 1] > 0.24] = [0, 1, 0]
    return Mesh(*map(torch.from_numpy, (mesh.vertices.copy(), np.array(mesh.faces), colors)))


def test_the_front_is_seen_with_right_on_the_right():
    pixels = np.array(portrait(box(), 128)).astype(int)
    assert pixels.shape == (128, 128, 4)
    rows, columns = np.nonzero(pixels[..., 3] > 128)
    assert columns.max() - columns.min() > 90  # fills the picture as pictures of objects do
    low = pixels[rows.max() - 15]  # of the front, below the top face
    left, right = low[columns.min() + 10, :3], low[columns.max() - 10, :3]
    assert left[0] > 80 and left[2] < 40 and right[2] > 80 and right[0] < 40
    assert pixels[rows.max() - 15 : rows.max() - 5, 40:90, 1].max() < 40  # the back is not seen


def test_half_a_turn_shows_the_back():
    pixels = np.array(portrait(box(), 128, azimuth=np.pi)).astype(int)
    assert pixels[80, 64, 1] > 80 and pixels[80, 64, 0] < 40


def test_the_command_draws_a_picture_that_generation_takes(tmp_path, capsys):
    mesh = trimesh.creation.icosphere(3)
    mesh.visual.vertex_colors = np.tile([230, 40, 30, 255], (len(mesh.vertices), 1))
    mesh.export(tmp_path / "ball at 10.30.ply")
    options = ["--output", str(tmp_path), "--device", "cpu", "--precision", "fp32"]
    assert picture_main([str(tmp_path / "ball at 10.30.ply"), *options]) == 0
    assert capsys.readouterr().out == "ball at 10.30_picture.png\n"
    picture = cut_out(open_picture(tmp_path / "ball at 10.30_picture.png"), lambda image: image)
    assert isinstance(picture, Image.Image)
    middle = np.array(picture)[picture.height // 2, picture.width // 2]
    assert middle[0] > 2 * middle[1] and middle[3] == 255
    assert picture_main([str(tmp_path / "none.latents.safetensors"), *options]) == 2
    assert "no latents" in capsys.readouterr().err


def test_a_fault_while_drawing_is_one_sentence(monkeypatch, tmp_path, capsys):
    def failing(options):
        raise MemoryError

    monkeypatch.setattr("backend.picture.open_asset", failing)
    assert picture_main(["a.glb", "--output", str(tmp_path)]) == 2
    assert "memory was not enough" in capsys.readouterr().err


@pytest.mark.parametrize("angle", ["x", "nan", "inf"])
def test_what_is_no_angle_is_told(tmp_path, capsys, angle):
    with pytest.raises(SystemExit):
        picture_main(["a.glb", "--output", str(tmp_path), "--azimuth", angle])
    assert f"{angle} is no angle; give degrees" in capsys.readouterr().err
