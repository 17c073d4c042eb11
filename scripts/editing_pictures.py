"""Six edits by the starter, before and after from two sides: the pictures of docs/editing.md.

    .venv/bin/python scripts/editing_pictures.py [--output docs/editing] [--only NAME]

Runs in the Python of the backend.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from backend.geometry.portrait import decoded_asset  # noqa: E402 (beside this folder)
from backend.geometry.region import Region, make_box, make_closed_mesh  # noqa: E402
from backend.geometry.render import cutout, render_whole  # noqa: E402
from backend.geometry.scene import turned_mesh  # noqa: E402
from backend.geometry.views import Light, View, fitting_distance  # noqa: E402
from backend.image import cut_out, open_picture  # noqa: E402
from backend.representations.mesh import Mesh  # noqa: E402
from backend.trellis.asset import AssetLatents, latents_of  # noqa: E402
from backend.trellis.edit import EditSettings, edit  # noqa: E402
from backend.trellis.generate import generate  # noqa: E402
from backend.trellis.networks import Networks  # noqa: E402
from backend.trellis.stages import Output, Settings, Step  # noqa: E402
from blender_trellis.protocol import EditMode  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
SIDES = (25.0, 205.0)
SIZE = 240
DISTANCE = fitting_distance(math.radians(37))
BLUE, GREEN = (70, 110, 255), (90, 220, 90)


@dataclass(frozen=True)
class Case:
    """One edit: of which asset, by which guide's picture (None to remove), where and how."""

    name: str
    asset: str
    guide: Image.Image | None
    region: Region
    mode: EditMode
    elevation: float = 17.5


def cases(pictures: dict[str, Image.Image]) -> Iterator[Case]:
    """The six edits of the page."""
    chair, mushroom = pictures["chair"], pictures["mushroom"]
    back = Region((make_box([0, 0, 0.34], [1, 1, 0.4]),))
    yield Case("look_painted", "chair", tinted(chair, BLUE, 0.48), back, "look")
    cap = Region((make_box([0, 0, 0.3], [1, 1, 0.4]),))
    yield Case("look_cap", "mushroom", tinted(mushroom, GREEN, 0.5), cap, "look")
    yield Case("replace", "chair", mushroom, back, "replace")
    around = Region((make_box([0, 0, 0.28], [1, 1, 0.2]),))
    yield Case("add", "chair", mushroom, around, "add")
    yield Case("remove_box", "mushroom", None, Region((make_box([0, 0, 0.4], [1, 1, 0.4]),)), "remove", 45)
    ball = trimesh.creation.icosphere(3, 0.26)
    bite = Region(meshes=(make_closed_mesh(ball.vertices + [0.2, -0.3, 0.3], np.asarray(ball.faces)),))
    yield Case("remove_bite", "mushroom", None, bite, "remove", 25)


def tinted(picture: Image.Image, color: tuple[int, int, int], share: float) -> Image.Image:
    """The picture with its upper share painted over, light and dark as before."""
    pixels = np.array(picture).astype(np.float32)
    rows = int(len(pixels) * share)
    light = pixels[:rows, :, :3].mean(axis=2, keepdims=True) / 255
    pixels[:rows, :, :3] = light * np.array(color)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGBA")


def drawn(mesh: Mesh, elevation: float) -> np.ndarray:
    """The mesh from both sides, beside each other (S, 2S, 3)."""
    item, panels = decoded_asset(mesh), []
    fov = math.radians(28)
    light = Light((-0.4, -0.7, 0.6), 0.6, 0.45)
    for side in SIDES:
        view = View(
            math.radians(side), math.radians(elevation), fov, fitting_distance(math.radians(37)), light
        )
        picture = np.array(cutout(render_whole(turned_mesh(item, view.azimuth), view, SIZE))) / 255
        panels.append(picture[..., :3] * picture[..., 3:] + 0.94 * (1 - picture[..., 3:]))
    return np.concatenate(panels, axis=1)


def made(events: Iterator[Step | Output]) -> dict:
    """The outputs by kind."""
    return {event.kind: event.value for event in events if isinstance(event, Output)}


def main(arguments: list[str]) -> int:
    """Write the pictures; the exit code."""
    wanted = argparse.ArgumentParser(prog="editing_pictures.py", description=__doc__)
    wanted.add_argument("--output", type=Path, default=ROOT / "docs" / "editing")
    wanted.add_argument("--only", default="", help="the name of one edit")
    options = wanted.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    networks = Networks.open("starter", torch.device("cpu"), torch.float32)
    folder = networks.folder
    sampling = Settings(folder.structure_sampler, folder.slat_sampler, ("mesh",))
    pictures = {
        name: cut_out(open_picture(PICTURES / f"{name}.png"), lambda image: image)
        for name in ("chair", "mushroom")
    }
    before: dict[str, tuple[AssetLatents, Mesh]] = {}
    for case in cases(pictures):
        if options.only not in ("", case.name):
            continue
        if case.asset not in before:
            random = torch.Generator().manual_seed(3)
            outputs = made(generate(networks, [pictures[case.asset]], sampling, random))
            before[case.asset] = latents_of(outputs, "starter", folder.hash), outputs["mesh"]
        asset, mesh = before[case.asset]
        guide = None if case.guide is None else [case.guide]
        settings = EditSettings(sampling, mode=case.mode, seed=5)
        after = made(edit(networks, asset, guide, case.region, settings))["mesh"]
        rows = np.concatenate([drawn(mesh, case.elevation), drawn(after, case.elevation)], axis=1)
        path = options.output / f"{case.name}.jpg"
        Image.fromarray((rows.clip(0, 1) * 255).round().astype(np.uint8)).save(
            path, quality=85, optimize=True
        )
        sys.stdout.write(f"{path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
