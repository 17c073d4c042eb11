"""Background removal: plain colours keyed out, U²-Net through rembg with one convolution."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from backend.background.choice import cut_out_as
from backend.background.plain import key_out_plain_background
from backend.background.remove import remove_background
from backend.background.removers import SESSIONS, find_remover
from backend.errors import MissingModel, UserError
from backend.image import preprocess


@pytest.fixture(autouse=True)
def no_model_file(tmp_path, monkeypatch):
    """No background remover on this machine, wherever it is looked for."""
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME", "TRELLIS_U2NET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


SIZE = 200


def object_mask(soft: bool = False) -> np.ndarray:
    """A ring with a bar on top: (SIZE, SIZE) coverage in [0, 1]."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    radius = np.hypot(x - 100, y - 115)
    ring = np.clip(np.minimum(60 - radius, radius - 20) + 0.5, 0, 1)
    bar = ((np.abs(x - 100) < 8) & (y > 25) & (y < 80)).astype(float)
    coverage = np.maximum(ring, bar)
    return coverage if soft else (coverage > 0.5).astype(float)


def on(background: np.ndarray, color=(190, 60, 40)) -> Image.Image:
    coverage = object_mask(soft=True)[..., None]
    mixed = np.asarray(color) * coverage + background * (1 - coverage)
    return Image.fromarray(np.clip(np.round(mixed), 0, 255).astype(np.uint8))


def plain(*color: int) -> np.ndarray:
    return np.zeros((SIZE, SIZE, 3)) + color


def grey_gradient_with_noise() -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    noise = np.random.default_rng(0).normal(0, 4, (SIZE, SIZE, 3))
    return (110 + 45 * y + 10 * x)[..., None] + noise


def vignette() -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    return np.repeat((235 - 130 * (x * x + y * y))[..., None], 3, axis=2)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def overlap(cutout: Image.Image, expected: np.ndarray) -> float:
    found = np.asarray(cutout)[..., 3] > 127
    return (found & (expected > 0.5)).sum() / (found | (expected > 0.5)).sum()


def with_filled_hole() -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    return (object_mask() > 0) | (np.hypot(x - 100, y - 115) < 40)


# --- plain backgrounds ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "background",
    [plain(255, 255, 255), plain(0, 0, 0), plain(30, 190, 60), grey_gradient_with_noise(), vignette()],
    ids=["white", "black", "green", "grey gradient with noise", "vignette"],
)
@pytest.mark.parametrize("quality", [None, 90, 60])
def test_plain_backgrounds_are_keyed_out(background, quality):
    image = on(background)
    image = as_jpeg(image, quality) if quality else image
    cutout = remove_background(image)
    assert cutout.mode == "RGBA" and cutout.size == image.size
    # The hole is of the background's colour but not reached from the border: it stays.
    assert overlap(cutout, with_filled_hole()) > 0.95
    alpha = np.asarray(cutout)[..., 3]
    assert (alpha[:20] == 0).all() and (alpha[:, :20] == 0).all()
    assert (alpha[with_filled_hole() & ~grown(~with_filled_hole(), 4)] == 255).all()


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    for _ in range(pixels):
        padded = np.pad(mask.astype(bool), 1)
        mask = (
            padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        )
    return mask


def test_the_edge_is_soft_and_without_a_rim_of_the_background():
    pixels = np.asarray(remove_background(on(plain(255, 255, 255))))
    alpha = pixels[..., 3]
    edge = (alpha > 0) & (alpha < 255)
    assert edge.any()
    # At most two pixels to either side of the true edge.
    solid = with_filled_hole().astype(bool)
    assert not (edge & ~grown(solid, 2)).any() and not (edge & ~grown(~solid, 3)).any()
    y = np.mgrid[0:SIZE, 0:SIZE][0]
    assert (np.abs(pixels[..., :3].astype(int) - [190, 60, 40])[edge & (y > 120)].max(axis=-1) < 30).all()


def test_specks_are_removed():
    image = np.asarray(on(plain(250, 250, 250))).copy()
    for x, y in [(12, 40), (180, 20), (20, 180), (185, 150)]:
        image[y : y + 3, x : x + 3] = (90, 90, 90)
    assert overlap(remove_background(Image.fromarray(image)), with_filled_hole()) > 0.95


def test_an_object_may_touch_the_border():
    image = np.zeros((160, 160, 3), np.uint8) + 240
    image[60:, 50:120] = (40, 60, 120)
    expected = np.zeros((160, 160))
    expected[60:, 50:120] = 1
    assert overlap(remove_background(Image.fromarray(image)), expected) > 0.97


def test_a_keyed_picture_goes_on_through_preprocessing():
    pixels = np.asarray(preprocess(on(plain(255, 255, 255)), remove_background))
    assert (pixels[0] == 0).all()
    assert np.abs(pixels[400, 259].astype(int) - [190, 60, 40]).max() < 10


def photograph() -> np.ndarray:
    """Clutter of many colours and sizes."""
    random = np.random.default_rng(1)
    image = np.zeros((SIZE, SIZE, 3))
    for size in (4, 10, 25, 50):
        coarse = random.normal(0, 35, (size, size, 3))
        image += np.kron(coarse, np.ones((SIZE // size, SIZE // size, 1)))
    return image + 120


def halves() -> np.ndarray:
    image = plain(90, 140, 220)
    image[110:] = (120, 90, 50)
    return image


@pytest.mark.parametrize("background", [photograph(), halves()], ids=["photograph", "floor and wall"])
def test_other_backgrounds_give_a_sentence_with_the_remedies(background):
    image = on(background)
    assert key_out_plain_background(image) is None
    with pytest.raises(UserError) as error:
        remove_background(image)
    for words in (
        "transparency",
        "plain background",
        "python -m backend models download u2net",
        "u2net.onnx",
    ):
        assert words in str(error.value)


def test_nothing_but_background():
    with pytest.raises(UserError, match="nothing but a plain background"):
        remove_background(Image.new("RGB", (64, 64), "white"))


# --- U²-Net through rembg ---------------------------------------------------------------------------


def protobuf(*fields: tuple[int, int | str | bytes]) -> bytes:
    """The wire format: whole numbers as varints, all else with its length."""

    def varint(value: int) -> bytes:
        parts = bytearray()
        while value > 127:
            parts.append(value & 127 | 128)
            value >>= 7
        return bytes([*parts, value])

    result = b""
    for number, value in fields:
        if isinstance(value, int):
            result += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            result += varint(number << 3 | 2) + varint(len(value)) + value
    return result


def one_convolution(side: int = 320) -> bytes:
    """An ONNX network like U²-Net from outside, (1, 3, side, side) -> (1, 1, side, side): how red it is."""

    def value(name: str, channels: int) -> bytes:
        sizes = protobuf(*((1, protobuf((1, size))) for size in (1, channels, side, side)))
        return protobuf((1, name), (2, protobuf((1, protobuf((1, 1), (2, sizes))))))

    weight = protobuf(
        *((1, size) for size in (1, 3, 1, 1)),
        (2, 1),
        (8, "weight"),
        (9, struct.pack("<3f", 1.0, -0.5, -0.5)),
    )
    node = protobuf((1, "image"), (1, "weight"), (2, "mask"), (3, "conv"), (4, "Conv"))
    graph = protobuf((1, node), (2, "red"), (5, weight), (11, value("image", 3)), (12, value("mask", 1)))
    return protobuf((1, 8), (7, graph), (8, protobuf((1, ""), (2, 13))))


@pytest.fixture
def model_file(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "u2net.onnx"
    path.write_bytes(one_convolution())
    return path


def test_rembg_comes_without_the_minute_in_which_it_compiles(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))
    code = "from backend.background.removers import _import_rembg; from numba.core import config; "
    code += "print(_import_rembg().__name__, config.DISABLE_JIT)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["rembg", "0"]  # our own loops are compiled after it as before
    assert not (tmp_path / "compiled").exists()


def test_jobs_may_compile_while_rembg_comes(tmp_path):
    code = """
import threading
from numba import njit
from numba.core import config
from backend.background.removers import _import_rembg

@njit
def total(count):
    return sum([number for number in range(count)])

threads = [threading.Thread(target=_import_rembg) for _ in range(3)]
for thread in threads:
    thread.start()
print(total(5))
for thread in threads:
    thread.join()
print(len(total.signatures), config.DISABLE_JIT)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.split() == ["10", "1", "0"]


def red_on_photograph() -> Image.Image:
    dull = photograph() * [0.2, 0.4, 0.4] + [0, 60, 60]
    return on(dull, color=(250, 10, 10))


def test_with_a_model_file_any_background_is_removed(model_file):
    cutout = remove_background(red_on_photograph(), model_file)
    assert cutout.mode == "RGBA" and cutout.size == (SIZE, SIZE)
    assert overlap(cutout, object_mask()) > 0.9


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("TRELLIS_MODELS", "."),
        ("U2NET_HOME", "."),
        ("U2NET_HOME", "models/u2net"),
        ("REMBG_HOME", "models/u2net"),
        ("HOME", ".u2net"),
        ("HOME", ".rembg/models/u2net"),
    ],
)
def test_the_model_file_is_found_where_rembg_keeps_it(tmp_path, monkeypatch, variable, folder):
    monkeypatch.setenv(variable, str(tmp_path / "place"))
    assert find_remover() is None
    path = tmp_path / "place" / folder / "u2net.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert find_remover().resolve() == path.resolve()


def test_the_set_file_comes_first(tmp_path, monkeypatch):
    for name in ("set", "environment", "models/u2net"):
        (tmp_path / f"{name}.onnx").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.onnx").write_bytes(b"x")
    assert find_remover() == tmp_path / "models" / "u2net.onnx"
    monkeypatch.setenv("TRELLIS_U2NET", str(tmp_path / "environment.onnx"))
    assert find_remover() == tmp_path / "environment.onnx"
    assert find_remover(tmp_path / "set.onnx") == tmp_path / "set.onnx"


def test_a_set_file_that_does_not_exist(tmp_path):
    with pytest.raises(MissingModel, match="nowhere.onnx' does not exist"):
        remove_background(on(plain(255, 255, 255)), tmp_path / "nowhere.onnx")


def test_a_damaged_model_file(model_file):
    model_file.write_bytes(b"\x13not a network" * 100)
    with pytest.raises(UserError, match="damaged"):
        remove_background(on(plain(255, 255, 255)), model_file)


def test_the_finest_remover_of_the_models_folder_is_taken(tmp_path, monkeypatch):
    """Each by rembg's own rules for it; of rembg's caches only U²-Net."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "isnet-general-use.onnx").write_bytes(b"x")
    assert find_remover() is None
    found = []
    for name in reversed(SESSIONS):
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / name).write_bytes(one_convolution(320 if name == "u2net.onnx" else 1024))
        found.append(find_remover().name)
        cutout = remove_background(red_on_photograph())
        assert cutout.mode == "RGBA" and overlap(cutout, object_mask()) > 0.9
    assert found == ["u2net.onnx", "isnet-general-use.onnx", "birefnet-general-lite.onnx"]


def halves_of(left: tuple[int, ...], right: tuple[int, ...], mode: str) -> Image.Image:
    """64 × 32: two squares side by side."""
    image = Image.new(mode, (64, 32), left)
    image.paste(right, (32, 0, 64, 32))
    return image


def alpha_at(cutout: Image.Image, x: float, y: float) -> int:
    """The alpha where the cut-out's square is [0, 1]²."""
    assert cutout.mode == "RGBA" and cutout.size == (518, 518)
    return cutout.getchannel("A").getpixel((int(x * 517), int(y * 517)))


def test_kept_transparency_says_what_the_object_is():
    """A clear frame of two pixels cuts nothing out by itself; who keeps it says that it does."""
    framed = Image.new("RGBA", (100, 100), (9, 9, 9, 0))
    framed.paste((200, 50, 50, 255), (2, 2, 98, 98))
    assert alpha_at(cut_out_as("alpha", framed), 0.5, 0.5) == 255
    with pytest.raises(UserError, match="nothing but a plain background"):
        cut_out_as("auto", framed)
    for opaque in (framed.convert("RGB"), Image.new("RGBA", (32, 32), (9, 9, 9, 255))):
        with pytest.raises(UserError, match="no transparency to keep"):
            cut_out_as("alpha", opaque)


def test_a_plain_color_goes_even_where_transparency_says_otherwise():
    """A red square on white whose alpha keeps the whole left half: the white goes with it."""
    image = Image.new("RGBA", (200, 200), (255, 255, 255, 255))
    image.paste((200, 30, 30, 255), (60, 60, 140, 140))
    image.paste((255, 255, 255, 0), (150, 0, 200, 200))
    kept = cut_out_as("plain", image)
    assert alpha_at(kept, 0.5, 0.5) == 255 and alpha_at(kept, 0.03, 0.5) == 0 == alpha_at(kept, 0.97, 0.5)
    with pytest.raises(UserError, match="not one even color"):
        cut_out_as("plain", Image.fromarray(photograph().astype(np.uint8)))


def test_the_remover_goes_before_transparency(model_file, monkeypatch):
    """The picture's own alpha shows its left half alone; the remover sees all of it."""
    photo = red_on_photograph()
    halved = photo.convert("RGBA")
    halved.putalpha(
        Image.fromarray(np.where(np.arange(SIZE) < 100, 255, 254)[None].repeat(SIZE, 0).astype(np.uint8))
    )
    with pytest.raises(MissingModel, match="no background remover"):
        cut_out_as("remover", halved)
    monkeypatch.setenv("TRELLIS_U2NET", str(model_file))
    found = np.asarray(cut_out_as("remover", halved))
    assert np.array_equal(found, np.asarray(cut_out_as("auto", photo)))
    assert not np.array_equal(found, np.asarray(cut_out_as("alpha", halved)))


def test_a_picture_left_as_it_is_keeps_its_place_in_the_square():
    """A black half and a red one, 2 : 1: the red half fills right of the middle, half of the height."""
    seen = cut_out_as("keep", halves_of((0, 0, 0), (200, 0, 0), "RGB"))
    assert alpha_at(seen, 0.75, 0.5) == 255
    assert not any(alpha_at(seen, x, y) for x, y in ((0.25, 0.5), (0.75, 0.2), (0.75, 0.8)))
    seen = cut_out_as("keep", halves_of((0, 0, 0, 255), (200, 0, 0, 0), "RGBA"))
    assert alpha_at(seen, 0.25, 0.5) == 255 and alpha_at(seen, 0.75, 0.5) == 0
    with pytest.raises(UserError, match="black or clear all over"):
        cut_out_as("keep", Image.new("RGB", (32, 32)))
