"""The figures and pictures of docs/finishing.md: how sharp textures are, and assets before and after.

    .venv/bin/python scripts/finishing_pictures.py PICTURES [--model starter] [--show NAME …] [--work FOLDER]

Makes an object of every picture in the folder PICTURES, finishes and textures it, and compares it with the
picture from the picture's view. Writes the table of docs/finishing.md, docs/finishing/before_after.jpg,
docs/finishing/splats.jpg and docs/pictures/finished.jpg; --show names the pictures on those. What was made is
kept in --work, so that a run that was stopped goes on. Run by the backend's Python.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from backend.background.remove import remove_background  # noqa: E402
from backend.files import write_bytes  # noqa: E402
from backend.finish import mesh_of  # noqa: E402
from backend.finishing.chain import finish_mesh  # noqa: E402
from backend.finishing.settings import FinishSettings  # noqa: E402
from backend.geometry.mesh_files import load_asset  # noqa: E402
from backend.image import cut_out, open_picture, read_picture_file  # noqa: E402
from backend.representations.gaussians import read_ply  # noqa: E402
from backend.representations.mesh import Mesh, TexturedMesh  # noqa: E402
from backend.texturing.camera import Camera  # noqa: E402
from backend.texturing.painting import place  # noqa: E402
from backend.texturing.preview import render_texture  # noqa: E402
from backend.texturing.projection import picture_views  # noqa: E402
from backend.texturing.settings import TextureSettings  # noqa: E402
from backend.texturing.texture import texture_mesh  # noqa: E402

SEEN, TILE = 512, 240
PICTURE = 2 * SEEN
ASIDE = math.radians(30)
GREY = 0.5
DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Measured:
    """projected, plain: PSNR in dB against the picture within both outlines, with the picture on the texture
    and without · overlap of the outlines · use: share of the texture that charts cover · seconds of processor
    time for the texture · tiles: what is shown of it.
    """

    name: str
    projected: float
    plain: float
    overlap: float
    use: float
    seconds: float
    tiles: list[np.ndarray]


def main() -> int:
    """Make and measure everything; the exit code."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    pictures = sorted(path for path in options.pictures.iterdir() if path.suffix.lower() == ".png")
    raw = _generated(pictures, options.model, options.work)
    rows = []
    for path in pictures:
        rows.append(_measured(path, raw / path.stem, options.size))
        one = rows[-1]
        sys.stdout.write(f"{one.name}: {one.projected:.1f} dB, without the picture {one.plain:.1f} dB\n")
        sys.stdout.flush()
    target = DOCS / "finishing"
    target.mkdir(exist_ok=True)
    _write_table(DOCS / "finishing.md", _table(rows))
    shown = [one for one in rows if one.name in options.show] or rows[:3]
    _save(target / "before_after.jpg", [one.tiles for one in shown])
    _save(DOCS / "pictures" / "finished.jpg", [[one.tiles[0], *one.tiles[4:]] for one in shown])
    splats = [str(raw / f"{one.name}.ply") for one in shown]
    sheet = [str(ROOT / "scripts" / "splat_sheet.py"), *splats, "--output", str(target / "splats.jpg")]
    return subprocess.run([sys.executable, *sheet], check=False).returncode


def _options() -> argparse.Namespace:
    wanted = argparse.ArgumentParser(
        prog="finishing_pictures.py", description="Measure and draw finished assets."
    )
    wanted.add_argument("pictures", type=Path, metavar="PICTURES", help="a folder of .png pictures")
    wanted.add_argument("--model", default="starter")
    wanted.add_argument("--size", type=int, default=2048, help="texels a side")
    wanted.add_argument(
        "--show", nargs="*", default=[], metavar="NAME", help="pictures to draw, without .png"
    )
    wanted.add_argument("--work", type=Path, default=ROOT / "out" / "finishing", metavar="FOLDER")
    return wanted.parse_args()


def _generated(pictures: list[Path], model: str, work: Path) -> Path:
    """The folder with NAME.glb, the raw mesh, and NAME.ply of every picture."""
    missing = [str(path) for path in pictures if not (work / f"{path.stem}.ply").exists()]
    if missing:
        command = [sys.executable, "-m", "backend", "generate", *missing, "--model", model, "--finish", "raw"]
        subprocess.run([*command, "--output", str(work)], check=True, cwd=ROOT)
    return work


def _measured(path: Path, raw: Path, size: int) -> Measured:
    raw_mesh = mesh_of(load_asset(raw.with_name(f"{raw.name}.glb")))
    gaussians = read_ply(raw.with_name(f"{raw.name}.ply"))
    mesh, _ = finish_mesh(raw_mesh, FinishSettings.preset("film"))
    picture = cut_out(open_picture(read_picture_file(path), path.name), remove_background, PICTURE)
    views = picture_views([picture], aligned=True)
    began = time.process_time()
    textured = texture_mesh(mesh, TextureSettings(size), gaussians, views)
    took = time.process_time() - began
    plain = texture_mesh(mesh, TextureSettings(size, project_picture=False), gaussians)
    colors = None if mesh.colors is None else mesh.colors.numpy()
    camera = place(views, mesh.vertices.numpy(), mesh.faces.numpy(), colors)[0][0].camera
    wanted = _small(picture)
    seen, without = render_texture(textured, camera, SEEN), render_texture(plain, camera, SEEN)
    overlap = np.minimum(seen[..., 3], wanted[..., 3]).sum() / np.maximum(seen[..., 3], wanted[..., 3]).sum()
    game, _ = finish_mesh(raw_mesh, FinishSettings.preset("game"))
    tiles = [wanted, _lines(raw_mesh, camera), _lines(game, camera), without, seen]
    tiles += [render_texture(textured, _turned(camera, azimuth), SEEN) for azimuth in (-ASIDE, ASIDE)]
    psnr = _psnr(seen, wanted), _psnr(without, wanted)
    return Measured(path.stem, *psnr, float(overlap), _use(textured), took, tiles)


def _turned(camera: Camera, azimuth: float) -> Camera:
    return replace(camera, azimuth=camera.azimuth + azimuth, focal=camera.focal * 0.95, centre=(0.5, 0.5))


def _lines(mesh: Mesh, camera: Camera) -> np.ndarray:
    """(SEEN, SEEN, 4): the mesh's edges, dark where one face meets another, as the camera sees them."""
    ids, _ = camera.depths(mesh.vertices.numpy(), mesh.faces.numpy(), SEEN * 2)
    edge = (ids != np.roll(ids, 1, 0)) | (ids != np.roll(ids, 1, 1))
    drawn = np.zeros((*ids.shape, 4), np.float32)
    drawn[..., :3], drawn[..., 3] = np.where(edge, 0.15, 0.9)[..., None], ids >= 0
    return _halved(drawn)


def _small(picture: Image.Image) -> np.ndarray:
    """The picture (SEEN, SEEN, 4) f32 in [0, 1], colours not multiplied by alpha."""
    values = np.asarray(picture.convert("RGBA")).astype(np.float32) / 255
    return _halved(values)


def _halved(values: np.ndarray) -> np.ndarray:
    """(2·SEEN, 2·SEEN, 4) -> (SEEN, SEEN, 4), colours not multiplied by alpha."""
    values = np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1)
    blocks = values.reshape(SEEN, 2, SEEN, 2, 4).mean(axis=(1, 3))
    return np.concatenate([blocks[..., :3] / np.maximum(blocks[..., 3:], 1e-6), blocks[..., 3:]], axis=-1)


def _psnr(shown: np.ndarray, wanted: np.ndarray) -> float:
    """In dB, where both cover the whole pixel."""
    common = (shown[..., 3] > 0.99) & (wanted[..., 3] > 0.99)
    error = np.mean((shown[..., :3][common] - wanted[..., :3][common]) ** 2)
    return -10 * math.log10(max(float(error), 1e-10))


def _use(mesh: TexturedMesh) -> float:
    corners = mesh.uv.double().numpy()[mesh.faces.numpy()]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return float(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2)


def _write_table(page: Path, table: str) -> None:
    """Puts the table between its marks on the page."""
    head, begin, rest = page.read_text("utf-8").partition("<!-- textures: begin -->\n")
    _, end, tail = rest.partition("<!-- textures: end -->")
    write_bytes(page, (head + begin + table + end + tail).encode())


def _table(rows: list[Measured]) -> str:
    lines = [
        "| picture | with the picture, dB | without, dB | overlap of outlines | texture used | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        likeness = f"{one.projected:.1f} | {one.plain:.1f} | {one.overlap:.2f}"
        lines.append(f"| {one.name} | {likeness} | {one.use:.0%} | {one.seconds:.0f} |")
    least = min(one.projected for one in rows)
    mean = np.mean([one.projected for one in rows])
    plain = np.mean([one.plain for one in rows])
    used = np.mean([one.use for one in rows])
    lines.append(f"| **mean** (least {least:.1f}) | {mean:.1f} | {plain:.1f} | | {used:.0%} | |")
    return "\n".join(lines) + "\n"


def _save(path: Path, rows: list[list[np.ndarray]]) -> None:
    """Rows of tiles (SEEN, SEEN, 4) on grey."""
    drawn = [
        np.concatenate([one[..., :3] * one[..., 3:] + GREY * (1 - one[..., 3:]) for one in row], 1)
        for row in rows
    ]
    pixels = (np.concatenate(drawn).clip(0, 1) * 255).round().astype(np.uint8)
    height = TILE * len(rows)
    image = Image.fromarray(pixels).resize(
        (pixels.shape[1] * height // pixels.shape[0], height), Image.Resampling.LANCZOS
    )
    image.save(path, quality=88)


if __name__ == "__main__":
    sys.exit(main())
