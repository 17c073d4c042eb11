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
from PIL import Image

from backend.errors import UserError
from backend.image.decode import MAX_CROP_SIDE, PICTURE_SIZE, crop_box, open_picture, preprocess


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


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]))
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
    image = np.asarray(cut_out(64, 64, (0, 0, 64, 64), (255, 101, 0))).copy()
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


@pytest.mark.parametrize("alpha", [0, 204])
def test_nothing_opaque(alpha):
    with pytest.raises(UserError, match="shows no object"):
        preprocess(Image.new("RGBA", (64, 64), (200, 0, 0, alpha)), never)


def test_a_single_opaque_pixel():
    with pytest.raises(UserError, match="one or two pixels"):
        preprocess(cut_out(box=(5, 5, 6, 6)), never)


def test_one_pixel_in_all():
    with pytest.raises(UserError, match="one or two pixels"):
        preprocess(Image.new("RGB", (1, 1)), lambda image: image.convert("RGBA"))


def test_a_very_long_object_does_not_take_memory_in_the_square_of_its_length():
    image = Image.new("RGBA", (60_000, 20), (200, 100, 50, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    boxes = []
    original = Image.Image.crop

    def spy(self, box):
        boxes.append(box)
        return original(self, box)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "crop", spy)
        assert preprocess(image, never).size == (PICTURE_SIZE, PICTURE_SIZE)
    assert boxes[0][2] - boxes[0][0] <= MAX_CROP_SIDE * 1.2


@pytest.mark.skipif(not os.environ.get("TRELLIS_GOLDENS"), reason="TRELLIS_GOLDENS is not set")
def test_goldens():
    pictures = sorted(Path(os.environ["TRELLIS_GOLDENS"], "preprocess_image").glob("*.out.png"))
    assert pictures
    for expected in pictures:
        source = expected.with_name(expected.name.replace(".out.png", ".png"))
        with Image.open(expected) as image:
            assert np.array_equal(preprocess(open_picture(source), never), image.convert("RGB"))
