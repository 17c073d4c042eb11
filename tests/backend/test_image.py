"""Pictures of every kind, whole and broken: each is decoded rightly or gives one sentence."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from scipy import ndimage

from backend.background import remove_background
from backend.errors import UserError
from backend.image import crop_box, open_picture, preprocess, read_picture_file
from backend.image import cut_out as cut_out_picture
from backend.image.crop import MAX_CROP_SIDE, PICTURE_SIZE
from backend.image.decode import FORMATS


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width: int = 48, height: int = 32) -> np.ndarray:
    """(height, width, 3) uint8, red from left to right, green from top to bottom."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 40)], axis=-1).astype(np.uint8)


def cut_out(width=100, height=80, box=(30, 20, 60, 70), color=(200, 100, 50)) -> Image.Image:
    pixels = np.zeros((height, width, 4), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = (*color, 255)
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64)))


def never(image):
    raise AssertionError("the background remover must not be called")


# --- what is decoded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"), [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("WEBP", 20), ("JPEG", 20), ("GIF", 40)]
)
def test_formats(kind, error):
    image = open_picture(encode(Image.fromarray(gradient()), kind))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - gradient()).max() <= error


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_kept(mode):
    image = open_picture(encode(cut_out().convert(mode)))
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image)[..., 3], np.asarray(cut_out())[..., 3])


def test_palette_with_a_transparent_colour():
    image = cut_out().convert("RGB").quantize(4)
    clear = image.getpixel((0, 0))
    opened = open_picture(encode(image, transparency=clear))
    assert opened.mode == "RGBA"
    assert opened.getpixel((0, 0))[3] == 0
    assert opened.getpixel((40, 30)) == (200, 100, 50, 255)


def test_a_palette_with_partly_transparent_colours():
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert open_picture(encode(image, transparency=bytes([0, 128]))).getpixel((5, 5)) == (10, 20, 30, 128)


def test_grey_becomes_rgb():
    image = open_picture(encode(Image.new("L", (20, 20), 77)))
    assert image.mode == "RGB" and image.getpixel((3, 3)) == (77, 77, 77)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = np.asarray(open_picture(encode(Image.fromarray(values), kind)))
    assert np.array_equal(pixels[..., 0], values >> 8)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_sixteen_bit_colour():
    rows = b"".join(b"\0" + struct.pack(">HHH", 0x1234, 0x8000, 0xFFFF) * 20 for _ in range(20))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    pixel = np.asarray(open_picture(data))[4, 4].astype(int)
    assert np.abs(pixel - [0x12, 0x80, 0xFF]).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_few_bits(bits):
    """Columns of all greys, of which the second is clear."""
    greys = np.arange(32) % min(1 << bits, 32)
    row = np.packbits((greys[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 16, bits, 0, 0, 0, 0))
    pixels = chunk(b"tRNS", struct.pack(">H", 1)) + chunk(b"IDAT", zlib.compress((b"\0" + row) * 16))
    data = b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")
    alpha = np.asarray(open_picture(data))[..., 3]
    assert np.array_equal(alpha, np.tile(np.where(greys == 1, 0, 255), (16, 1)))


def test_thirty_two_bit_floats_are_refused():
    with pytest.raises(UserError, match="8 or 16 bits"):
        open_picture(encode(Image.new("F", (20, 20), 0.5), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    pure = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    red = np.asarray(open_picture(encode(pure, kind)))[10, 10].astype(int)
    assert np.abs(red - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (32, 32), color) for color in [(250, 0, 0), (0, 250, 0), (0, 0, 250)]]
    options = {"save_all": True, "append_images": frames[1:], "duration": 50}
    pixel = np.asarray(open_picture(encode(frames[0], kind, **options)).convert("RGB"))[5, 5].astype(int)
    assert np.abs(pixel - [250, 0, 0]).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_orientation_is_applied(orientation):
    upright = Image.fromarray(gradient())
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(upright.transpose(stored) if stored is not None else upright, exif=exif)
    assert np.array_equal(np.asarray(open_picture(data)), gradient())


def test_broken_metadata_does_not_spoil_good_pixels():
    data = encode(Image.fromarray(gradient()), exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x01\x00")
    assert np.array_equal(np.asarray(open_picture(data)), gradient())


# --- what is refused, with one sentence -------------------------------------------------------------


def sentence(source, name=None) -> str:
    with pytest.raises(UserError) as error:
        open_picture(source, name)
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 400
    return message


def test_not_a_picture():
    assert "is not a picture" in sentence(b"<html>no</html>" * 20, "page.png")


def test_formats_outside_the_list_are_refused():
    data = encode(Image.new("RGB", (32, 32)), "PPM")
    assert "give a PNG, JPEG, WebP" in sentence(data, "x.png")


def test_an_empty_file():
    assert "empty" in sentence(b"", "void.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_truncated(kind, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    assert "'half.png'" in sentence(data[: int(len(data) * share)], "half.png")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 9_000), (60_000, 1_100), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_decoding(size):
    assert "more than 64 million pixels" in sentence(png_header(*size), "wall.png")


def test_a_text_bomb_inside_a_png():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = encode(Image.new("RGB", (32, 32)))
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))
    # Behind the pixels nobody looks; before them it must not be swallowed.
    assert "damaged" in sentence(data[:33] + bomb + data[33:], "bomb.png")


def test_one_pixel():
    assert "only 1×1 pixels" in sentence(encode(Image.new("RGB", (1, 1))), "dot.png")


def test_a_path_that_does_not_exist(tmp_path):
    assert "no picture at" in sentence(tmp_path / "nothing.png")


def test_a_folder_instead_of_a_file(tmp_path):
    assert "a folder" in sentence(tmp_path)


def test_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert "check" in sentence(tmp_path / "file" / "picture.png")


def test_an_impossible_path():
    assert "cannot be read" in sentence(Path("a\0b"))


def test_a_device_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert "a device" in sentence(pipe)


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(Image.new("RGB", (32, 32))))

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    if os.access(path, os.R_OK) and os.geteuid() == 0:
        # The superuser may read everything, so the refusal is put in.
        monkeypatch.setattr(Path, "read_bytes", refuse)
    else:
        path.chmod(0)
    assert "may not be read" in sentence(path)


def test_a_damaged_avif_is_one_sentence():
    if "AVIF" not in FORMATS:
        pytest.skip("this Pillow reads no AVIF")
    whole = encode(Image.fromarray(gradient()), "AVIF")
    for part in (b"iloc", b"av1C"):
        assert "damaged" in sentence(whole.replace(part, b"none"))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted({*FORMATS} - {"DIB"})))
def test_damaged_bytes_never_escape_as_anything_else(data, kind):
    content = bytearray(encode(Image.fromarray(gradient()), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert open_picture(bytes(content)).mode in ("RGB", "RGBA")
    except UserError:
        pass


# --- preprocessing ------------------------------------------------------------------------------------


def test_crop_box_by_hand():
    alpha = np.zeros((80, 100), np.uint8)
    alpha[20:70, 30:61] = 205
    alpha[0, 0] = 204  # not above the threshold
    # columns 30…60, rows 20…69: centre (45, 44.5), longer side 49, 49 · 1.2 = 58.8 -> 58, half 29
    assert crop_box(alpha) == (16.0, 15.5, 74.0, 73.5)


def test_the_object_is_centred_on_black():
    pixels = np.asarray(preprocess(cut_out(), never))
    assert pixels.shape == (PICTURE_SIZE, PICTURE_SIZE, 3) and pixels.dtype == np.uint8
    rows, columns = np.nonzero(pixels[..., 0] > 100)
    assert abs(rows.min() + rows.max() - PICTURE_SIZE) < 16
    assert abs(columns.min() + columns.max() - PICTURE_SIZE) < 16
    assert np.ptp(rows) == pytest.approx(PICTURE_SIZE / 1.2, abs=16)
    assert (pixels[0] == 0).all() and (pixels[:, 0] == 0).all()
    assert pixels[PICTURE_SIZE // 2, PICTURE_SIZE // 2].tolist() == [200, 100, 50]


def test_hidden_colours_do_not_bleed_into_the_edge():
    hidden = np.asarray(cut_out()).copy()
    hidden[hidden[..., 3] == 0] = (0, 0, 255, 0)
    assert np.array_equal(preprocess(Image.fromarray(hidden), never), preprocess(cut_out(), never))


def test_half_transparent_colours_are_darkened_and_truncated():
    image = np.asarray(cut_out(64, 64, (8, 8, 56, 56), (255, 101, 0))).copy()
    image[16:48, 16:48, 3] = 128
    pixels = np.asarray(preprocess(Image.fromarray(image), never))
    # 101 · 128 / 255 = 50.7 -> 50
    assert pixels[PICTURE_SIZE // 2, PICTURE_SIZE // 2].tolist() == [128, 50, 0]


def test_an_opaque_picture_goes_through_the_background_remover():
    seen = []

    def remover(image):
        seen.append((image.mode, image.size))
        cutout = Image.new("RGBA", image.size)
        cutout.paste(image.crop((200, 200, 400, 400)), (200, 200))
        return cutout

    opaque = Image.new("RGBA", (2051, 1300), (9, 99, 199, 255))
    pixels = np.asarray(preprocess(opaque, remover))
    assert seen == [("RGB", (1024, int(1300 * 1024 / 2051)))]
    assert pixels[259, 259].tolist() == [9, 99, 199]


def test_grey_with_alpha_works_too():
    assert preprocess(cut_out().convert("LA"), never).mode == "RGB"


@pytest.mark.parametrize("alpha", [0, 20])
def test_nothing_to_be_seen(alpha):
    with pytest.raises(UserError, match="shows no object"):
        preprocess(Image.new("RGBA", (64, 64), (200, 0, 0, alpha)), never)


def test_a_single_opaque_pixel():
    with pytest.raises(UserError, match="one or two pixels"):
        preprocess(cut_out(box=(5, 5, 6, 6)), never)


def test_one_pixel_in_all():
    with pytest.raises(UserError, match="one or two pixels"):
        preprocess(Image.new("RGB", (1, 1)), lambda image: image.convert("RGBA"))


def test_a_very_long_object_does_not_take_memory_in_the_square_of_its_length():
    image = Image.new("RGBA", (60_000, 20), (0, 0, 0, 0))
    image.paste((200, 100, 50, 255), (0, 4, 60_000, 16))
    boxes = []
    original = Image.Image.crop

    def spy(self, box):
        boxes.append(box)
        return original(self, box)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "crop", spy)
        assert preprocess(image, never).size == (PICTURE_SIZE, PICTURE_SIZE)
    assert boxes[0][2] - boxes[0][0] <= MAX_CROP_SIDE * 1.2


# --- what transparency says --------------------------------------------------------------------------


def toy(background=(250, 250, 250, 255)) -> np.ndarray:
    """A red bottle on a plain background: (200, 160, 4) uint8. It fills x 50 to 110, y 40 to 179."""
    pixels = np.zeros((200, 160, 4), np.uint8)
    pixels[:] = background
    pixels[40:180, 70:90] = pixels[80:180, 50:111] = (200, 40, 30, 255)
    return pixels


def outline(pixels: np.ndarray) -> np.ndarray:
    """What of the 518 × 518 picture shows the object."""
    image = cut_out_picture(Image.fromarray(pixels), remove_background)
    return np.asarray(image.getchannel("A")) > 128


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def rounded(pixels: np.ndarray, radius: int) -> np.ndarray:
    """With transparent black corners, as a screenshot of a window has."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    dy = np.maximum(np.maximum(radius - y, y - (height - 1 - radius)), 0)
    dx = np.maximum(np.maximum(radius - x, x - (width - 1 - radius)), 0)
    pixels = pixels.copy()
    pixels[dx**2 + dy**2 > radius**2] = 0
    return pixels


def with_alpha(alpha: int) -> np.ndarray:
    pixels = toy()
    pixels[..., 3] = alpha
    return pixels


def one_clear_pixel() -> np.ndarray:
    pixels = toy()
    pixels[0, 0] = 0
    return pixels


def framed() -> np.ndarray:
    """One clear pixel all round."""
    pixels = np.zeros((202, 162, 4), np.uint8)
    pixels[1:-1, 1:-1] = toy()
    return pixels


def noisy() -> np.ndarray:
    pixels = toy()
    pixels[..., 3] = np.random.default_rng(1).integers(250, 256, pixels.shape[:2])
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [
        with_alpha(254),
        with_alpha(120),
        one_clear_pixel(),
        framed(),
        noisy(),
        *(rounded(toy(), r) for r in (8, 25)),
    ],
    ids=["254", "120", "one pixel", "frame", "noise", "corners", "round corners"],
)
def test_transparency_that_cuts_nothing_out_leaves_it_to_the_background_remover(pixels):
    assert overlap(outline(pixels), outline(toy())) > 0.95


def test_transparency_that_says_nothing_over_a_textured_background_is_told_of():
    pixels = rounded(toy(), 10)
    pixels[..., :3] = np.random.default_rng(2).integers(0, 256, (*pixels.shape[:2], 3))
    with pytest.raises(UserError, match="neither transparency nor a plain background"):
        outline(pixels)


def test_mixed_pixels_beside_clear_ones_are_no_object():
    """Round corners smoothed in premultiplied colours: dark pixels between the clear ones and the white."""
    pixels = rounded(toy(), 25)
    clear = pixels[..., 3] == 0
    away = ndimage.distance_transform_edt(~clear)
    for distance, alpha in ((1, 60), (2, 160)):
        pixels[np.ceil(away) == distance] = (alpha // 2,) * 3 + (alpha,)
    assert overlap(outline(pixels), outline(toy())) > 0.95


def test_a_frame_cut_out_without_a_margin_stays_hollow():
    frame = np.full((200, 160, 4), (180, 90, 30, 255), np.uint8)
    frame[30:-30, 30:-30] = 0
    alpha = np.asarray(cut_out_picture(Image.fromarray(frame), never).getchannel("A"))
    assert alpha[259, 259] == 0
    # The square round it is 1.2 times its height of 200.
    assert (alpha > 127).mean() == pytest.approx((160 * 200 - 100 * 140) / 240**2, abs=0.01)


def test_an_object_that_touches_three_sides_is_still_cut_out_by_its_alpha():
    bust = np.zeros((200, 160, 4), np.uint8)
    bust[90:, :] = bust[30:90, 50:110] = (90, 120, 160, 255)
    image = cut_out_picture(Image.fromarray(bust), never)
    assert (np.asarray(image.getchannel("A")) > 128).any()


# --- specks ------------------------------------------------------------------------------------------


def clear_toy() -> np.ndarray:
    return toy((0, 0, 0, 0))


def test_specks_far_from_the_object_take_no_part_in_the_crop():
    specked = clear_toy()
    for y, x in ((1, 1), (0, 150), (198, 158), (195, 3), (20, 120)):
        specked[y, x] = (255, 255, 255, 255)
    specked[3:5, 80:82] = (9, 9, 9, 255)
    assert overlap(outline(specked), outline(clear_toy())) > 0.99


def test_a_small_part_of_the_object_far_away_stays():
    """A moon beside a planet: a hundredth of its size."""
    pair = clear_toy()
    pair[4:14, 140:150] = (240, 240, 200, 255)
    alpha = np.asarray(cut_out_picture(Image.fromarray(pair), never).getchannel("A")) > 128
    _, count = ndimage.label(alpha)
    assert count == 2


def test_a_dotted_line_is_no_row_of_specks():
    line = np.zeros((600, 600, 4), np.uint8)
    line[200:500, 100:400] = (200, 40, 30, 255)
    line[300:302, 400:590:4] = (20, 20, 20, 255)  # dots of two pixels with gaps of three
    alpha = np.asarray(cut_out_picture(Image.fromarray(line), never).getchannel("A")) > 100
    columns = np.nonzero(alpha.any(axis=0))[0]
    assert np.ptp(columns) == pytest.approx(PICTURE_SIZE / 1.2, abs=12)


def test_specks_that_a_background_remover_leaves_take_no_part_either():
    def careless(image: Image.Image) -> Image.Image:
        pixels = clear_toy()
        pixels[0, 0] = pixels[199, 159] = (1, 2, 3, 255)
        return Image.fromarray(pixels)

    made = cut_out_picture(Image.fromarray(toy()[..., :3]), careless)
    assert overlap(np.asarray(made.getchannel("A")) > 128, outline(clear_toy())) > 0.99


# --- what can be seen through ------------------------------------------------------------------------


def extent(pixels: np.ndarray, threshold: int) -> tuple[int, int]:
    alpha = np.asarray(cut_out_picture(Image.fromarray(pixels), never).getchannel("A"))
    rows, columns = np.nonzero(alpha > threshold)
    return np.ptp(rows), np.ptp(columns)


@pytest.mark.parametrize("percent", [30, 55, 70, 80])
def test_a_glass_is_cropped_like_an_opaque_object(percent):
    glass = clear_toy()
    glass[..., 3] = glass[..., 3].astype(int) * percent // 100
    assert np.abs(np.subtract(extent(glass, 100 * percent // 100), extent(clear_toy(), 100))).max() <= 1


def test_the_see_through_part_of_a_bottle_is_not_cut_off():
    bottle = clear_toy()
    bottle[80:180, 50:111, 3] = 140
    assert np.abs(np.subtract(extent(bottle, 30), extent(clear_toy(), 30))).max() <= 1


def test_dark_glass_with_a_light_cap_is_no_shadow():
    bottle = clear_toy()
    bottle[80:180, 50:111] = (15, 12, 10, 140)
    assert np.abs(np.subtract(extent(bottle, 30), extent(clear_toy(), 30))).max() <= 1


def test_a_cast_shadow_does_not_make_the_object_smaller():
    """Published pre-processing crops to what is opaque."""
    shaded = np.zeros((300, 400, 4), np.uint8)
    shaded[60:200, 50:150] = (200, 40, 30, 255)
    y, x = np.mgrid[0:300, 0:400]
    soft = np.clip(1 - np.hypot((x - 200) / 180, (y - 205) / 25), 0, 1)
    shadow = shaded[..., 3] == 0
    shaded[shadow, 3] = (soft * 150)[shadow]
    plain = shaded.copy()
    plain[shadow] = 0
    assert np.abs(np.subtract(extent(shaded, 200), extent(plain, 200))).max() <= 1


def test_noise_of_a_mask_is_not_to_be_seen():
    noise = clear_toy()
    noise[noise[..., 3] == 0] = (30, 30, 30, 20)
    assert np.abs(np.subtract(extent(noise, 100), extent(clear_toy(), 100))).max() <= 1


# --- colour profiles ---------------------------------------------------------------------------------


def srgb_of(data: bytes) -> np.ndarray:
    return np.asarray(open_picture(data))[10, 10].astype(int)


def rgb_profile(gamma: float, primaries: list[list[float]]) -> bytes:
    """A matrix profile with these colorants (the D50 XYZ of red, green and blue) and one gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: list[float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)
    text += bytes(-len(text) % 4)
    copyright = b"text\0\0\0\0none\0\0\0\0"
    tags = [(b"desc", text), (b"cprt", copyright), (b"wtpt", xyz([0.9642, 1.0, 0.8249]))]
    tags += [(name, xyz(c)) for name, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, data, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    size = offset + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += (
        struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
        + b"acsp"
        + bytes(28)
        + b"".join(map(fixed, [0.9642, 1.0, 0.8249]))
    )
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


# Colorants for the white D50, from each space's published primaries by the Bradford adaptation.
PHOTO_SPACES = {
    "Adobe RGB": (
        2.2,
        [[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]],
    ),
    "ProPhoto": (1.8, [[0.79767, 0.28804, 0.0], [0.13519, 0.71187, 0.0], [0.03134, 0.00009, 0.82521]]),
    "Display P3": (
        2.2,
        [[0.5151, 0.2412, -0.0011], [0.292, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]],
    ),
}
COLOR = [160, 110, 70]
# Linear sRGB of CIE XYZ for the white D50.
D50_TO_LINEAR_SRGB = np.array(
    [[3.13386, -1.61687, -0.49061], [-0.97877, 1.91614, 0.03345], [0.07195, -0.22899, 1.40524]]
)


def expected_srgb(color: list[int], space: str) -> np.ndarray:
    gamma, primaries = PHOTO_SPACES[space]
    light = (np.array(color) / 255) ** gamma @ np.array(primaries)
    linear = (D50_TO_LINEAR_SRGB @ light).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize("space", PHOTO_SPACES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_photographs_are_converted_to_srgb(space, kind):
    options = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    image = Image.new("RGB", (32, 32), tuple(COLOR))
    data = encode(image, kind, icc_profile=rgb_profile(*PHOTO_SPACES[space]), **options)
    assert np.abs(srgb_of(data) - expected_srgb(COLOR, space)).max() <= 4
    assert np.abs(np.array(COLOR) - expected_srgb(COLOR, space)).max() > 4  # the profile matters


def test_alpha_and_palettes_keep_their_transparency_beside_a_profile():
    profile = rgb_profile(*PHOTO_SPACES["Adobe RGB"])
    opened = open_picture(encode(cut_out(color=tuple(COLOR)), icc_profile=profile))
    assert opened.mode == "RGBA" and opened.getpixel((0, 0))[3] == 0
    assert np.abs(np.array(opened.getpixel((40, 30))[:3]) - expected_srgb(COLOR, "Adobe RGB")).max() <= 2
    image = cut_out(color=tuple(COLOR)).convert("RGB").quantize(4)
    opened = open_picture(encode(image, transparency=image.getpixel((0, 0)), icc_profile=profile))
    assert opened.getpixel((0, 0))[3] == 0 and opened.getpixel((40, 30))[3] == 255
    assert np.abs(np.array(opened.getpixel((40, 30))[:3]) - expected_srgb(COLOR, "Adobe RGB")).max() <= 4


def test_a_camera_that_says_adobe_rgb_without_a_profile():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    data = encode(Image.new("RGB", (32, 32), tuple(COLOR)), "JPEG", quality=100, exif=exif)
    assert np.abs(srgb_of(data) - expected_srgb(COLOR, "Adobe RGB")).max() <= 4


def test_what_a_profile_is_called_says_nothing():
    """Linear light in the primaries of sRGB: 55/255 is the level 128 of sRGB."""
    srgb = [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]]
    for title in (b"sRGB\0", b"\xc9cra\0"):
        linear = rgb_profile(1, srgb).replace(b"test\0", title)
        data = encode(Image.new("RGB", (32, 32), (55, 55, 55)), icc_profile=linear)
        assert np.abs(srgb_of(data) - 128).max() <= 1


def test_the_profile_of_srgb_itself_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(open_picture(encode(Image.fromarray(gradient()), icc_profile=profile)), gradient())


@pytest.mark.parametrize(
    "profile", [b"nothing of the kind", rgb_profile(*PHOTO_SPACES["ProPhoto"])[:200], b"\0" * 500]
)
def test_a_broken_profile_does_not_stop_the_picture(profile):
    assert srgb_of(encode(Image.new("RGB", (32, 32), tuple(COLOR)), icc_profile=profile)).tolist() == COLOR


def test_a_profile_of_another_kind_of_picture_is_left_out():
    data = encode(Image.new("L", (32, 32), 90), icc_profile=rgb_profile(*PHOTO_SPACES["ProPhoto"]))
    assert srgb_of(data).tolist() == [90, 90, 90]


def test_lab_pictures_have_their_colours():
    """L* = 53.6 without chroma is middle grey, (128, 128, 128) in sRGB."""
    image = Image.merge("LAB", [Image.new("L", (32, 32), v) for v in (round(53.6 * 2.55), 128, 128)])
    assert np.abs(srgb_of(encode(image, "TIFF")) - 128).max() <= 2


# --- keys, frames, files -----------------------------------------------------------------------------


def png(width: int, height: int, bits: int, kind: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    middle = b"".join(chunk(*one) for one in extra)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + middle
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_sixteen_bit_transparent_colour_is_compared_with_all_its_bits():
    key, near, other = (0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD), (0x4444, 0x5678, 0x9ABC)
    row = b"\0" + b"".join(struct.pack(">3H", *one) for one in (key, near, other, key) * 5)
    opened = open_picture(png(20, 20, 16, 2, row * 20, (b"tRNS", struct.pack(">3H", *key))))
    assert np.asarray(opened.getchannel("A"))[3, :4].tolist() == [0, 255, 255, 0]
    assert opened.getpixel((2, 3))[:3] == (0x44, 0x56, 0x9A)


def test_a_cut_off_picture_with_a_sixteen_bit_key_is_one_sentence():
    rows = np.random.default_rng(0).bytes(20 * (1 + 20 * 6))
    whole = png(20, 20, 16, 2, rows, (b"tRNS", bytes(6)))
    for cut in (40, 400):
        with pytest.raises(UserError, match="incomplete or damaged"):
            open_picture(whole[:-cut])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_black_outline_is_something_and_a_haze_is_nothing(kind):
    haze, shown = Image.new("RGBA", (32, 32)), cut_out(32, 32, (8, 8, 24, 24), (9, 200, 9))
    haze.paste((9, 9, 9, 12), (4, 4, 20, 20))
    outlined = cut_out(32, 32, (8, 8, 24, 24), (0, 0, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    image = open_picture(encode(haze, kind, save_all=True, append_images=[outlined, shown], **options))
    assert image.getpixel((16, 16)) == (0, 0, 0, 255)


def test_the_first_frame_that_shows_something_is_taken():
    empty, shown = Image.new("RGBA", (32, 32)), cut_out(32, 32, (8, 8, 24, 24))
    for kind, options in (("GIF", {"disposal": 2}), ("PNG", {}), ("WEBP", {"lossless": True})):
        data = encode(empty, kind, save_all=True, append_images=[empty, shown, empty], **options)
        image = open_picture(data)
        assert image.convert("RGBA").getchannel("A").getextrema()[1] == 255, kind
        assert np.abs(np.array(image.convert("RGB").getpixel((16, 16))) - [200, 100, 50]).max() <= 8, kind


def test_the_first_of_several_frames_that_all_show_something_is_taken():
    frames = [cut_out(32, 32, (8, 8, 24, 24), color) for color in ((10, 200, 30), (200, 30, 10))]
    image = open_picture(encode(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    assert image.getpixel((16, 16))[:3] == (10, 200, 30)


def test_what_is_too_large_or_no_file_is_refused_before_it_is_read(tmp_path):
    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(UserError, match="larger than 256 MiB"):
        open_picture(large)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UserError, match="a device"):
            read_picture_file(path)


@pytest.mark.skipif(not os.environ.get("TRELLIS_GOLDENS"), reason="TRELLIS_GOLDENS is not set")
def test_goldens():
    pictures = sorted(Path(os.environ["TRELLIS_GOLDENS"], "preprocess_image").glob("*.out.png"))
    assert pictures
    for expected in pictures:
        source = expected.with_name(expected.name.replace(".out.png", ".png"))
        with Image.open(expected) as image:
            assert np.array_equal(preprocess(open_picture(source), never), image.convert("RGB"))
