"""How pictures reach the encoders: colour on black for the published ones, with alpha for the starter's."""

import numpy as np
import torch
from PIL import Image

from backend.image import cut_out, preprocess
from backend.image.crop import PICTURE_SIZE
from backend.trellis.conditioning import cutout_to_pixels, picture_to_pixels

CPU = torch.device("cpu")


def never(image: Image.Image) -> Image.Image:
    raise AssertionError("this picture has transparency of its own")


def black_ball() -> Image.Image:
    """A black disc with a soft edge and a white spot on a transparent background that is not black."""
    rows, columns = np.mgrid[:200, :200]
    distance = np.hypot(rows - 99.5, columns - 99.5)
    pixels = np.full((200, 200, 4), 90, np.uint8)
    pixels[distance < 80, :3] = 0
    pixels[distance < 10, :3] = 255
    pixels[..., 3] = np.clip((80 - distance) * 60, 0, 255)
    return Image.fromarray(pixels)


def test_published_encoders_get_a_cutout_as_it_was_prepared_before():
    ball = black_ball()
    expected = torch.from_numpy(np.asarray(preprocess(ball, never)).astype(np.float32) / 255)
    pixels = picture_to_pixels(cut_out(ball, never), CPU)
    assert pixels.shape == (1, 3, PICTURE_SIZE, PICTURE_SIZE)
    assert torch.equal(pixels[0].permute(1, 2, 0), expected)


def test_a_black_object_is_told_from_its_background_by_alpha():
    pixels = cutout_to_pixels(cut_out(black_ball(), never), CPU)
    assert pixels.shape == (1, 4, PICTURE_SIZE, PICTURE_SIZE)
    share = 3.1416 * (0.5 / 1.2) ** 2  # of a disc in a square 1.2 times as wide
    assert abs(float(pixels[0, 3].mean()) - share) < 0.05
    assert float(pixels[0, :3].mean()) < 0.05


def test_without_transparency_what_is_not_black_is_the_object():
    pixels = cutout_to_pixels(preprocess(black_ball(), never), CPU)
    assert 0 < float(pixels[0, 3].mean()) < 0.05  # the spot
    assert torch.equal(pixels[:, :3], picture_to_pixels(preprocess(black_ball(), never), CPU))
