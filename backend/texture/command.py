"""`python -m backend texture`: bake Gaussians and pictures onto a mesh file, an artist's own mesh for one.

Where neither shows it, it keeps its own textures' and vertices' colours.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from backend.background.remove import remove_background
from backend.errors import UserError
from backend.files import check_target, make_writable_folder
from backend.generate import explain
from backend.image import cut_out, open_picture, read_picture_file
from backend.representations.gaussians import read_ply
from backend.representations.glb import write_textured_glb
from backend.representations.obj_files import write_obj
from backend.texture.comparison import compare
from backend.texture.mesh_source import read_mesh
from backend.texturing.projection import picture_views
from backend.texturing.settings import MATERIALS, Symmetry, TextureSettings
from backend.texturing.texture import texture_mesh
from blender_trellis.batch.options import add_encoding_option

PICTURE_SIDE = 1024


def main(argv: Sequence[str]) -> int:
    """0 when the file was written, 2 when it was not."""
    options = _parser().parse_args(argv)
    logging.getLogger().setLevel(logging.INFO)
    try:
        sys.stdout.write(_textured(options) if options.compare is None else _compared(options))
    except Exception as error:  # noqa: BLE001 (one sentence says what is wrong)
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    return 0


def _textured(options: argparse.Namespace) -> str:
    """Write the files; a line about each, and what is to be said of them."""
    target = options.output / f"{options.mesh.stem}_textured.{options.format}"
    make_writable_folder(options.output)
    check_target(target)
    settings = _settings(options)
    source = read_mesh(options.mesh, options.keep_uv)
    cutouts = [
        cut_out(open_picture(read_picture_file(path), path.name), remove_background, PICTURE_SIDE)
        for path in options.picture
    ]
    textured = texture_mesh(
        source.mesh,
        settings,
        source.taken_in(read_ply(options.gaussians)) if options.gaussians else None,
        picture_views(cutouts, options.aligned),
        uv=source.uv,
        own=source.colors,
    )
    placed = source.put_back(textured)
    if options.format == "obj":
        written = write_obj(target, placed, source.origin)
    else:
        write_textured_glb(target, placed, settings.encoding, source.origin)
        written = [target]
    return "".join(
        f"{line}\n" for line in (*source.remarks, *textured.remarks, *(path.name for path in written))
    )


def _compared(options: argparse.Namespace) -> str:
    """Times and likeness of this texture and of the published procedure's, as JSON."""
    if options.gaussians is None:
        raise UserError("There is nothing to compare textures with; give the Gaussians as well.")
    source = read_mesh(options.mesh, own_uv=False)
    gaussians = source.taken_in(read_ply(options.gaussians))
    found = compare(source.mesh, gaussians, _settings(options), options.compare)
    return json.dumps({name: asdict(one) for name, one in found.items()}) + "\n"


def _settings(options: argparse.Namespace) -> TextureSettings:
    return TextureSettings(
        size=options.size,
        symmetry=options.symmetry,
        delight=options.delight,
        material=options.material,
        encoding=options.encoding,
    )


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of steps; give 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(prog="python -m backend texture", description=__doc__)
    add = wanted.add_argument
    add("mesh", type=Path, help="a .glb, .gltf, .obj, .ply or .stl file")
    add("--output", type=Path, default=Path("."), help="folder for the results (the current one)")
    add("--gaussians", type=Path, help="a .ply file of the same object in the same place")
    add("--picture", type=Path, action="append", default=[], help="a picture of it; may be given again")
    add("--aligned", action="store_true", help="the mesh stands as the first picture shows it")
    add("--keep-uv", action="store_true", help="bake into the mesh's own texture coordinates")
    add(
        "--size",
        type=int,
        default=TextureSettings.size,
        help=f"texels a side (default: {TextureSettings.size})",
    )
    add(
        "--symmetry",
        choices=get_args(Symmetry),
        default="off",
        help="mirror pictures onto the far side: where it fits (auto), or always (default: off)",
    )
    add(
        "--delight", action="store_true", help="divide the light that falls on the object out of the pictures"
    )
    add(
        "--material",
        choices=MATERIALS,
        default=TextureSettings.material,
        help=f"gloss of the surface (default: {TextureSettings.material})",
    )
    add("--format", choices=("glb", "obj"), default="glb", help="of the file (default: glb)")
    add_encoding_option(wanted)
    add(
        "--compare",
        type=_steps,
        metavar="STEPS",
        help="write nothing, but compare with a texture optimised in so many steps (published: 2500)",
    )
    return wanted
