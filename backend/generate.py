"""`python -m backend generate`: pictures, folders of pictures or a sentence to .glb and .ply files.

Beside them lie the latents that they were decoded from, with which `edit` and `vary` go on.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from backend.errors import UserError
from backend.files import check_target, make_writable_folder
from backend.image import read_picture_file
from backend.machine.memory import is_out_of_memory
from backend.representations.gaussians import write_ply
from backend.representations.glb import write_glb, write_textured_glb
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField
from backend.serve import INTERNAL, OUT_OF_MEMORY
from backend.tensor_files import write_tensors
from backend.texturing.settings import TextureSettings
from backend.trellis.asset import SUFFIX as LATENTS
from backend.trellis.asset import hash_of_guide, latents_of, write_latents
from backend.trellis.engine import TrellisEngine
from backend.trellis.finish import FinishedMesh
from backend.trellis.outputs import checked, radiance_field_arrays
from blender_trellis.batch.options import (
    add_background_option,
    add_encoding_option,
    add_generation_options,
    format_names,
    request_of,
)
from blender_trellis.batch.outcomes import Outcome, exit_code, make_all, report, table
from blender_trellis.batch.plan import Item, NoPictures, Plan, plan_batch
from blender_trellis.batch.progress_bar import ProgressBar
from blender_trellis.protocol import FORMATS, OF_FILE, Array, Finishing, FinishPreset, Generate

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """0 when every object was made, 1 when some were, 2 when none was."""
    options = parser().parse_args(argv)
    logging.getLogger().setLevel(logging.INFO)
    try:
        plan = _plan(options)
        make_writable_folder(options.output)
    except (UserError, NoPictures) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    engine = TrellisEngine()
    outcomes = make_all(
        plan.items,
        options.output,
        options.seed,
        lambda item, outcome, bar: _make(engine, item, options, outcome, bar),
        explain,
        sys.stderr,
    )
    last_word = report(outcomes, plan.skipped, "objects") if options.json else table(outcomes, plan.skipped)
    sys.stdout.write(last_word)
    return exit_code(outcomes)


FORMATS_HELP = (
    f"comma-separated, of {', '.join((*FORMATS, *OF_FILE))}; a file's name stands for what is in it "
    "(default: mesh,gaussian)"
)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    wanted = argparse.ArgumentParser(prog="python -m backend generate", description=__doc__)
    wanted.add_argument(
        "image", nargs="*", type=Path, help="pictures and folders of them; each picture becomes one object"
    )
    wanted.add_argument("--views", action="store_true", help="the pictures are views of one object")
    wanted.add_argument("--prompt", default="", help="a sentence, for text models")
    wanted.add_argument("--output", type=Path, required=True, help="folder for the results")
    wanted.add_argument(
        "--formats",
        type=formats,
        default=("mesh", "gaussian"),
        help=FORMATS_HELP,
    )
    wanted.add_argument(
        "--multi-image",
        default="stochastic",
        choices=("stochastic", "multidiffusion"),
        help="with --views: each step follows one of them, or the mean of all (default: stochastic)",
    )
    wanted.add_argument(
        "--finish",
        default="film",
        choices=get_args(FinishPreset),
        help="the mesh closed and of at most 100,000, 20,000 or 5,000 faces, or as decoded (default: film)",
    )
    wanted.add_argument(
        "--texture",
        type=texture_size,
        metavar="SIZE",
        help="texels a side of a texture for the mesh, baked of"
        " Gaussians and pictures (default: vertex colours)",
    )
    add_encoding_option(wanted)
    wanted.add_argument("--json", action="store_true", help="print the report as JSON")
    add_background_option(wanted)
    add_generation_options(wanted, Generate(job=""))
    return wanted


def formats(text: str) -> tuple[str, ...]:
    """The type of an option: names of formats, or of their files, with commas between them."""
    names = format_names(text, (*FORMATS, *OF_FILE))
    return tuple(dict.fromkeys(OF_FILE.get(name, name) for name in names))


def _plan(options: argparse.Namespace) -> Plan:
    if options.image and options.prompt:
        raise UserError("There are both a picture and a prompt; give one of them.")
    if options.image:
        return plan_batch(options.image, options.views)
    if not options.prompt:
        parser().error("give at least one picture, or a --prompt")
    return Plan((Item("prompt"),))


def _make(
    engine: TrellisEngine, item: Item, options: argparse.Namespace, outcome: Outcome, bar: ProgressBar
) -> None:
    """Make one object; its files are written once all of its parts are there and sound."""
    stem = options.output / item.name
    latents = stem.with_name(stem.name + LATENTS)
    for path in (*(_path(kind, stem) for kind in options.formats), latents):
        check_target(path)
    parts: list[tuple[str, Any]] = []
    summary = engine.make(
        _request(item, options),
        lambda stage, step, steps: bar.update(step / max(steps, 1), stage, stage.replace("_", " ")),
        lambda output: parts.append((output.kind, checked(output.value))),
    )
    outcome.seed, outcome.model_hash = summary.seed, summary.model_hash
    outcome.picture_hash = summary.picture_hash
    outputs = dict(parts)
    if "finished_mesh" in outputs:
        outputs["mesh"] = outputs.pop("finished_mesh")
    outcome.files += write_results(outputs, stem, options.encoding)
    guide_hash = summary.picture_hash or hash_of_guide([], options.prompt)
    write_latents(latents, latents_of(outputs, options.model, summary.model_hash, guide_hash))
    outcome.files.append(latents.name)


def explain(error: Exception) -> str:
    """One sentence; a fault that is not the user's goes to the log with its details."""
    if isinstance(error, UserError):
        return str(error)
    log.error("An object failed", exc_info=error)
    return OUT_OF_MEMORY if is_out_of_memory(error) else INTERNAL.format(type(error).__name__)


def _request(item: Item, options: argparse.Namespace) -> Generate:
    files = [read_picture_file(path) for path in item.pictures]
    return replace(
        request_of(options, options.formats),
        job=item.name,
        pictures=tuple(Array("u1", (len(data),), data) for data in files),
        picture_names=tuple(path.name for path in item.pictures),
        prompt=options.prompt,
        multi_image=options.multi_image,
        finishing=Finishing(preset=options.finish, texture=options.texture or 0),
    )


def texture_size(text: str) -> int:
    """The type of an option: texels a side of a texture."""
    try:
        return TextureSettings(int(text)).size
    except (ValueError, UserError) as error:
        raise argparse.ArgumentTypeError(
            f"{text} is no size of a texture; choose 512, 1024, 2048 or 4096"
        ) from error


def write_results(outputs: Mapping[str, Any], stem: Path, encoding: str = "png") -> list[str]:
    """Write the mesh, Gaussians and radiance field among the outputs; the names of the files.

    encoding: of the mesh's texture.
    """
    kinds = [kind for kind in outputs if kind in FORMATS]
    for kind in kinds:
        if kind == "mesh":
            _write_mesh(_path(kind, stem), outputs[kind], encoding)
        else:
            _WRITERS[kind](_path(kind, stem), outputs[kind])
    return [_path(kind, stem).name for kind in kinds]


def _path(kind: str, stem: Path) -> Path:
    return stem.with_name(stem.name + FORMATS[kind].suffix)


def _write_mesh(path: Path, mesh: Mesh | FinishedMesh, encoding: str) -> None:
    if isinstance(mesh, Mesh):
        write_glb(path, mesh)
    elif mesh.texture is not None:
        write_textured_glb(path, mesh.texture, encoding)
    else:
        write_glb(path, mesh.mesh, sharp=True)


def _write_field(path: Path, field: RadianceField) -> None:
    arrays = radiance_field_arrays(field)
    write_tensors(path, {name: torch.from_numpy(array) for name, array in arrays.items()})


_WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "gaussian": write_ply,
    "radiance_field": _write_field,
}
"""Writes the file of each format beside the mesh, which appears whole or not at all."""
