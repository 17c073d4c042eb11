"""What alpha says: a cut-out is used as it is, alpha that cuts out nothing is not; specks, see-through."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from backend.background.remove import remove_background
from backend.image.crop import CROP_FACTOR, PICTURE_SIZE, crop_box, cut_out

SIZE = 256
COLOR = (190, 60, 40)


@pytest.fixture(autouse=True)
def no_model_file(tmp_path, monkeypatch):
    """No U²-Net file on this machine, wherever it is looked for."""
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME", "TRELLIS_U2NET"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TRELLIS_MODELS", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))


def never(image):
    raise AssertionError("the background remover must not be called")


def toy() -> np.ndarray:
    """A ball with a thick rod on top: (SIZE, SIZE) bool, rows 60…190."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    return (np.hypot(x - 128, y - 145) < 45) | ((abs(x - 128) < 12) & (y >= 60) & (y < 145))


def on_white() -> np.ndarray:
    """(SIZE, SIZE, 4) uint8, opaque."""
    pixels = np.full((SIZE, SIZE, 4), 255, np.uint8)
    pixels[toy(), :3] = COLOR
    return pixels


def on_clear(alpha: int = 255) -> np.ndarray:
    """(SIZE, SIZE, 4) uint8, the toy with this alpha."""
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[toy()] = (*COLOR, alpha)
    return pixels


def shape(pixels: np.ndarray, remover=remove_background) -> np.ndarray:
    return np.asarray(cut_out(Image.fromarray(pixels), remover))[..., 3] > 25


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


def round_corners(radius: int) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    outside = [np.maximum(np.maximum(radius - v, v - (SIZE - 1 - radius)), 0) for v in (x, y)]
    return np.hypot(*outside) <= radius


def alpha_254() -> np.ndarray:
    pixels = on_white()
    pixels[..., 3] = 254
    return pixels


def alpha_noise() -> np.ndarray:
    pixels = on_white()
    pixels[..., 3] = np.random.default_rng(0).integers(250, 255, (SIZE, SIZE))
    return pixels


def half_opaque_all_over() -> np.ndarray:
    pixels = on_white()
    pixels[..., 3] = 128
    return pixels


def clear_pixel() -> np.ndarray:
    pixels = on_white()
    pixels[0, 0] = 0
    return pixels


def clear_specks_everywhere() -> np.ndarray:
    pixels = on_white()
    pixels[np.random.default_rng(0).random((SIZE, SIZE)) < 0.001] = 0
    return pixels


def card(radius: int) -> np.ndarray:
    pixels = on_white()
    pixels[~round_corners(radius)] = 0
    return pixels


def clear_frame(width: int) -> np.ndarray:
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[width:-width, width:-width] = on_white()[width:-width, width:-width]
    return pixels


def clear_corner_logos() -> np.ndarray:
    pixels = on_white()
    for rows in (slice(4, 24), slice(-24, -4)):
        pixels[rows, 4:44] = pixels[rows, -44:-4] = 0
    return pixels


def window_on_shadow() -> np.ndarray:
    pixels = np.zeros((SIZE + 80, SIZE + 80, 4), np.uint8)
    shadow = np.zeros(pixels.shape[:2])
    shadow[50:-30, 40:-40] = 150
    pixels[..., 3] = ndimage.gaussian_filter(shadow, 12)
    inside = round_corners(8)
    pixels[40:-40, 40:-40][inside] = on_white()[inside]
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [
        alpha_254(),
        alpha_noise(),
        half_opaque_all_over(),
        clear_pixel(),
        clear_specks_everywhere(),
        card(12),
        card(40),
        clear_frame(1),
        clear_frame(4),
        clear_corner_logos(),
        window_on_shadow(),
    ],
    ids=[
        "254",
        "noise",
        "128",
        "one",
        "dots",
        "card",
        "round card",
        "frame",
        "wide frame",
        "logos",
        "window",
    ],
)
def test_alpha_that_cuts_out_nothing_is_as_none(pixels):
    assert overlap(shape(pixels), shape(on_white()[..., :3])) > 0.97


def touching_the_border() -> np.ndarray:
    return on_clear()[:150, 70:190]


def trimmed() -> np.ndarray:
    rows, columns = np.nonzero(toy())
    return on_clear()[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def crate() -> np.ndarray:
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[60:200, 50:210] = (*COLOR, 255)
    return pixels


def framed_hole() -> np.ndarray:
    pixels = on_white()
    pixels[40:-40, 40:-40] = 0
    return pixels


@pytest.mark.parametrize("pixels", [on_clear(), touching_the_border(), trimmed(), crate(), framed_hole()])
def test_a_cut_out_is_used_as_it_is(pixels):
    left, top, right, bottom = crop_box(pixels[..., 3])
    published = (
        Image.fromarray(pixels).crop((left, top, right, bottom)).resize((PICTURE_SIZE, PICTURE_SIZE), 1)
    )
    assert np.array_equal(np.asarray(cut_out(Image.fromarray(pixels), never)), np.asarray(published))


def with_specks(count: int, side: int) -> np.ndarray:
    pixels = on_clear()
    random = np.random.default_rng(count)
    for y, x in random.integers(2, SIZE - 6, (count, 2)):
        pixels[y : y + side, x : x + side] = (10, 200, 10, 255)
    pixels[:side, :side] = pixels[-side:, -side:] = (10, 200, 10, 255)
    return pixels


@pytest.mark.parametrize(("count", "side"), [(0, 1), (4, 1), (100, 1), (20, 3)])
def test_specks_take_no_part_in_the_crop(count, side):
    # Specks inside the crop stay in the picture; opening takes them out of the comparison.
    toy_alone = ndimage.binary_opening(shape(with_specks(count, side), never), iterations=8)
    assert overlap(toy_alone, shape(on_clear(), never)) > 0.95


def test_specks_that_a_remover_leaves_take_no_part_either():
    left = shape(on_white()[..., :3], lambda image: Image.fromarray(with_specks(20, 2)))
    assert overlap(left, shape(on_clear(), never)) > 0.95


@pytest.mark.parametrize("box", [(10, 12, 20, 220), (20, 140, 240, 241), (10, 30, 10, 30)])
def test_a_part_far_away_that_is_no_speck_stays(box):
    pixels = on_clear()
    top, bottom, left, right = box
    pixels[top:bottom, left:right] = (*COLOR, 255)
    rows, columns = np.nonzero(pixels[..., 3])
    longer = max(np.ptp(rows), np.ptp(columns))
    crop = crop_box(pixels[..., 3])
    assert crop[2] - crop[0] == pytest.approx(longer * CROP_FACTOR, abs=2)


@pytest.mark.parametrize("opacity", [0.3, 0.55, 0.7])
def test_an_object_that_is_see_through_is_all_there(opacity):
    assert overlap(shape(on_clear(round(255 * opacity)), never), shape(on_clear(), never)) > 0.97


@pytest.mark.parametrize("opacity", [0.3, 0.55, 0.7])
@pytest.mark.parametrize("color", [COLOR, (10, 10, 10)], ids=["red", "smoked"])
def test_a_see_through_body_below_an_opaque_top(opacity, color):
    pixels = on_clear()
    body = toy() & (np.mgrid[0:SIZE, 0:SIZE][0] > 90)
    pixels[body] = (*color, round(255 * opacity))
    assert overlap(shape(pixels, never), shape(on_clear(), never)) > 0.97


def test_a_soft_shadow_leaves_an_opaque_object_s_crop_as_published():
    pixels = on_clear()
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    shadow = ndimage.gaussian_filter(160.0 * (np.hypot((x - 140) / 90, (y - 190) / 20) < 1), 8)
    pixels[..., 3] = np.where(toy(), 255, shadow).astype(np.uint8)
    published = (
        Image.fromarray(pixels).crop(crop_box(on_clear()[..., 3])).resize((PICTURE_SIZE, PICTURE_SIZE), 1)
    )
    assert np.array_equal(np.asarray(cut_out(Image.fromarray(pixels), never)), np.asarray(published))
