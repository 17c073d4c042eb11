"""Splat files as the engine's rasteriser and as F12 show them, side by side, with the PSNR between them.

    .venv/bin/python scripts/splat_sheet.py FILE.ply [FILE.ply …] --output docs/splats.jpg [--eevee]

Run by the backend's Python; starts itself again in the checkout's .venv-blender (or BLENDER_PYTHON) for F12.
Columns: the rasteriser, Cycles with the Standard view transform, Cycles as viewers, EEVEE where asked for.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ELEVATION, FOV = math.radians(20), math.radians(40)


def main() -> int:
    """Makes the sheet; the exit code."""
    wanted = argparse.ArgumentParser(prog="splat_sheet.py", description="Compare renders of splats.")
    wanted.add_argument("files", nargs="+", type=Path, metavar="FILE.ply")
    wanted.add_argument("--output", type=Path, required=True, metavar="PICTURE")
    wanted.add_argument("--size", type=int, default=256)
    wanted.add_argument("--samples", type=int, default=16)
    wanted.add_argument("--eevee", action="store_true")
    options = wanted.parse_args()
    kinds = ["STANDARD", "VIEWERS", *(["EEVEE"] if options.eevee else [])]
    rows = []
    for file in options.files:
        expected, distance = rasterised(file, options.size)
        tiles = [expected]
        for kind in kinds:
            tiles.append(rendered(file, kind, options.size, options.samples, distance))
            sys.stdout.write(f"{file.name} {kind}: {psnr(tiles[-1], expected):.1f} dB\n")
        rows.append(np.concatenate(tiles, axis=1))
    from PIL import Image

    Image.fromarray((np.concatenate(rows).clip(0, 1) * 255).round().astype(np.uint8)).save(options.output)
    return 0


def rasterised(file: Path, size: int) -> tuple[np.ndarray, float]:
    """The engine's picture (size, size, 3), and how far from the origin its camera stands."""
    from backend.geometry.splat_render import render_gaussians
    from backend.geometry.views import fixed_view
    from backend.representations.gaussians import read_ply

    view = fixed_view(0.0, ELEVATION, FOV)
    return render_gaussians(read_ply(file), view, size), view.distance


def rendered(file: Path, kind: str, size: int, samples: int, distance: float) -> np.ndarray:
    """Blender's picture (size, size, 3) from the same camera, on black."""
    python = os.environ.get("BLENDER_PYTHON") or str(ROOT / ".venv-blender" / "bin" / "python")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        values = [str(file.resolve()), kind, str(size), str(samples), repr(distance), str(picture)]
        subprocess.run([python, __file__, "--render", *values], check=True, stdout=subprocess.DEVNULL)
        from PIL import Image

        pixels = np.asarray(Image.open(picture), np.float32) / 255
    return pixels[..., :3] * pixels[..., 3:]


def render(file: Path, kind: str, size: int, samples: int, distance: float, picture: Path) -> None:
    """In Blender: F12 of the file into the picture, with alpha."""
    import bpy

    from blender_trellis.scene.display.colors import use_colors
    from blender_trellis.scene.gaussians.edit import import_splats
    from blender_trellis.scene.gaussians.settings import raise_bounces
    from blender_trellis.splats.files import read_splats

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    import_splats(file.stem, read_splats(file)[0], "NEGATIVE_Y", bpy.context)
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.angle = FOV
    camera.location = (0, -distance * math.cos(ELEVATION), distance * math.sin(ELEVATION))
    camera.rotation_euler = (math.pi / 2 - ELEVATION, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    raise_bounces(scene)
    use_colors(scene, "VIEWERS" if kind == "VIEWERS" else "STANDARD")

    eevee = "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT"
    scene.render.engine = eevee if kind == "EEVEE" else "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = samples, False
    scene.eevee.taa_render_samples = samples
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(picture)
    bpy.ops.render.render(write_still=True)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures in [0, 1], in dB."""
    return -10 * math.log10(max(float(((one - other) ** 2).mean()), 1e-10))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--render"]:
        name, chosen, wide, count, far, target = sys.argv[2:]
        render(Path(name), chosen, int(wide), int(count), float(far), Path(target))
        sys.exit(0)
    sys.exit(main())
