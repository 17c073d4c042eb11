"""`python -m backend picture`: an asset as a picture from the model's own view, to paint on for an edit."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from backend.edit import asset_options, open_asset, stem_of
from backend.errors import UserError
from backend.files import atomic_path, check_target, make_writable_folder
from backend.generate import explain
from backend.geometry.portrait import portrait
from backend.trellis.editing.layers import mesh_as_it_is


def main(argv: Sequence[str]) -> int:
    """0, or 2 with a sentence."""
    wanted = asset_options(
        "picture", "Draw an asset as the model expects pictures: painted over, the picture guides an edit."
    )
    wanted.add_argument("--azimuth", type=_angle, default=0.0, help="degrees round the asset, 0 is its front")
    options = wanted.parse_args(argv)
    try:
        return _draw(options)
    except Exception as error:  # noqa: BLE001 (one sentence says what is wrong)
        sys.stderr.write(f"{explain(error)}\n")
        return 2


def _draw(options: argparse.Namespace) -> int:
    name = options.name or f"{stem_of(options.asset)}_picture"
    target: Path = options.output / f"{name}.png"
    make_writable_folder(options.output)
    check_target(target)
    networks, asset = open_asset(options)
    asset = asset.to(networks.device)
    mesh = mesh_as_it_is(networks, asset)
    if len(mesh.faces) == 0:
        raise UserError("The asset's mesh has no faces, so there is nothing to draw; generate it again.")
    with atomic_path(target) as temporary:
        portrait(mesh, azimuth=math.radians(options.azimuth)).save(temporary, "PNG")
    sys.stdout.write(f"{target.name}\n")
    return 0


def _angle(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no angle; give degrees")
    return value
