"""`python -m backend edit`: changes a region of an asset, from the latents that lie beside its files."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from backend.background.choice import cut_out_as
from backend.errors import UserError
from backend.files import check_ordinary, check_target, make_writable_folder
from backend.generate import FORMATS_HELP, explain, formats, write_results
from backend.geometry.mesh_files import SUFFIXES as MESH_SUFFIXES
from backend.geometry.mesh_files import load_asset
from backend.geometry.region import Region, read_region
from backend.image import open_picture, read_picture_file
from backend.machine.device import choose_device, choose_dtype
from backend.sampling import SamplerSettings
from backend.trellis.asset import (
    SUFFIX,
    AssetLatents,
    hash_of_guide,
    latents_of,
    read_latents,
    write_latents,
)
from backend.trellis.edit import EditSettings, edit
from backend.trellis.editing.region import check_edit
from backend.trellis.encode import encode_mesh
from backend.trellis.engine import latent_sampler
from backend.trellis.generate import Guide
from backend.trellis.networks import Networks
from backend.trellis.outputs import checked
from backend.trellis.residency import Residency
from backend.trellis.stages import Output, Settings, Step
from blender_trellis.batch.options import (
    STRENGTH_HELP,
    add_background_option,
    add_engine_options,
    add_sampling_options,
)
from blender_trellis.batch.progress_bar import ProgressBar
from blender_trellis.protocol import FORMATS, EditMode, Generate

LARGEST_REGION = 256 << 20
ENCODING_MODEL = "starter"
"""What encodes a mesh where no model is named."""
_DEFAULTS = Generate(job="", model="")

Made = Iterator[Iterator[Step | Output]]
"""How each of the results is made, one after the other."""


def main(argv: Sequence[str]) -> int:
    """Change a region of an asset: 0, or 2 with a sentence."""
    options = _parser().parse_args(argv)
    return make_from_latents(options, [options.name or f"{stem_of(options.asset)}_edited"], _edited)


def make_from_latents(
    options: argparse.Namespace,
    names: Sequence[str],
    make: Callable[[Networks, AssetLatents, argparse.Namespace], Made],
) -> int:
    """Read the asset, open its model, and write what `make` yields for each name; where one fails, the next
    follows. 0, or with a sentence for each fault 1 when some were made, 2 when none was.
    """
    failed = 0
    try:
        make_writable_folder(options.output)
        for name in names:
            for suffix in (*(FORMATS[kind].suffix for kind in options.formats), SUFFIX):
                target = options.output / (name + suffix)
                check_target(target)
                _check_not_given(target, options.asset)
        networks, asset = open_asset(options)
        for name, events in zip(names, make(networks, asset, options), strict=True):
            try:
                sys.stdout.write(f"{', '.join(_finish(name, events, asset, options.output))}\n")
            except Exception as error:  # noqa: BLE001 (whatever is wrong with one, the others are still to be made)
                failed += 1
                sys.stderr.write(f"{explain(error)}\n")
    except Exception as error:  # noqa: BLE001 (as with one)
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    return 0 if not failed else 2 if failed == len(names) else 1


def _check_not_given(target: Path, asset: Path) -> None:
    """UserError where a result would take the place of the asset that it is made of."""
    try:
        is_given = target.samefile(asset)
    except OSError:  # one of them is not there
        return
    if is_given:
        raise UserError(f"{asset} would be overwritten; choose another name or output folder.")


def _edited(networks: Networks, asset: AssetLatents, options: argparse.Namespace) -> Made:
    settings = EditSettings(
        sampling_of(networks, options, another_look=options.mode == "look"),
        options.mode,
        options.seed,
        options.start,
        options.margin,
        options.growth,
        options.jumps,
        not options.open_cut,
    )
    region = _read_region(options.region)
    check_edit(region, asset, options.mode, settings.sampling, repeated_guide(options))
    guide = None if options.mode == "remove" else guide_of(options)
    yield edit(networks, asset, guide, region, settings)


def repeated_guide(options: argparse.Namespace) -> str:
    """`hash_of_guide` of the pictures; "" of a sentence, of which another seed makes another object."""
    return "" if options.prompt else hash_of_guide(list(map(read_picture_file, options.picture or ())))


def _finish(name: str, events: Iterator[Step | Output], asset: AssetLatents, folder: Path) -> list[str]:
    """Follow the events with a bar, check every output, and write all files."""
    bar = ProgressBar(sys.stderr, name)
    outputs: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Step):
            bar.update(event.step / max(event.steps, 1), event.stage, event.stage.replace("_", " "))
        else:
            outputs[event.kind] = checked(event.value)
    stem = folder / name
    files = write_results(outputs, stem)
    write_latents(
        stem.with_name(stem.name + SUFFIX),
        latents_of(outputs, asset.model, asset.model_hash, asset.guide_hash),
    )
    bar.end(", ".join(files))
    return [*files, name + SUFFIX]


def open_asset(options: argparse.Namespace) -> tuple[Networks, AssetLatents]:
    """The asset, encoded first where it is a mesh, and the networks of the model that made it."""
    if options.asset.suffix.lower() in MESH_SUFFIXES:
        mesh = load_asset(options.asset, split=True)
        networks = _networks(options, ENCODING_MODEL)
        asset, frame = encode_mesh(networks, mesh.vertices, mesh.faces, mesh.corner_colors / np.float32(255))
        x, y, z = np.add(frame.offset, mesh.origin)
        sys.stderr.write(f"encoded: mesh = asset * {frame.scale:.6g} + ({x:.9g}, {y:.9g}, {z:.9g})\n")
        return networks, asset
    asset = read_latents(options.asset)
    networks = _networks(options, asset.model)
    if not networks.folder.made(asset.model_hash):
        raise UserError(
            f"The asset was made by another model or version ({asset.model}); name that one with --model, or"
            " generate the asset again."
        )
    return networks, asset


def _networks(options: argparse.Namespace, model: str) -> Networks:
    """Those of the named model, or of `model`."""
    device = choose_device(options.device)
    precision = choose_dtype(device, options.precision)
    networks = Networks.open(options.model or model, device, precision, options.engine)
    networks.residency = Residency(device, options.memory)
    return networks


def sampling_of(networks: Networks, options: argparse.Namespace, another_look: bool) -> Settings:
    """The model's own settings with what the options say instead; another_look: only that is made."""

    def chosen(own: SamplerSettings) -> SamplerSettings:
        return own.merged(
            {"steps": options.steps, "cfg_strength": options.guidance, "strength": options.strength}
        )

    folder = networks.folder
    return Settings(
        chosen(folder.structure_sampler), chosen(latent_sampler(folder, another_look)), options.formats
    )


def guide_of(options: argparse.Namespace) -> Guide:
    """The pictures, cut out, or the sentence; UserError where there is neither, or both."""
    if options.prompt and options.picture:
        raise UserError("There are both a picture and a prompt; give one of them.")
    if options.prompt:
        return options.prompt
    if not options.picture:
        raise UserError("There is neither a picture nor a prompt; give what the whole object should be.")
    return [cut_out_as(options.background, open_picture(path)) for path in options.picture]


def _read_region(path: Path) -> Region:
    check_ordinary(path, LARGEST_REGION)
    try:
        return read_region(json.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"The region {path} cannot be read ({error}); give a JSON file.") from error


def stem_of(path: Path) -> str:
    """What the asset's files are called."""
    return path.stem if path.suffix.lower() in MESH_SUFFIXES else path.name.removesuffix(SUFFIX)


def options_of(command: str, text: str) -> argparse.ArgumentParser:
    """The options that edits and variants share."""
    wanted = asset_options(command, text)
    add_formats_option(wanted)
    add_sampling_options(wanted, _DEFAULTS)
    add = wanted.add_argument
    add("--picture", type=Path, action="append", help="what the whole object should be; may come again")
    add_background_option(wanted)
    add("--prompt", default="", help="the same as a sentence, for text models")
    add("--strength", type=float, help=STRENGTH_HELP)
    return wanted


def asset_options(command: str, text: str) -> argparse.ArgumentParser:
    """The options of every command that starts from an asset."""
    wanted = argparse.ArgumentParser(prog=f"python -m backend {command}", description=text)
    add = wanted.add_argument
    add("asset", type=Path, help=f"the {SUFFIX} file that generate wrote beside the asset, or a mesh")
    add("--output", type=Path, required=True, help="folder for the results")
    add(
        "--name",
        type=_name,
        default="",
        help="name of the results, without suffix (default: the asset's, and what was done, such as _edited)",
    )
    add_engine_options(wanted, _DEFAULTS)
    return wanted


def _name(text: str) -> str:
    """The type of an option: a name, also with folders, that stays below the output folder."""
    if Path(text).anchor or ".." in Path(text).parts:
        raise argparse.ArgumentTypeError(f"{text} leads out of the output folder; give a name below it")
    return text


def add_formats_option(wanted: argparse.ArgumentParser) -> None:
    """Adds what is decoded."""
    wanted.add_argument("--formats", type=formats, default=("mesh", "gaussian"), help=FORMATS_HELP)


def _parser() -> argparse.ArgumentParser:
    wanted = options_of("edit", "Change a region of an asset and keep the rest as it is.")
    add = wanted.add_argument
    add(
        "--region",
        type=Path,
        required=True,
        help="JSON file of boxes and closed meshes in the asset's own frame (-0.5 to 0.5, Z up)",
    )
    add(
        "--mode",
        choices=get_args(EditMode),
        default="replace",
        help="what becomes of the region (default: replace)",
    )
    add(
        "--start",
        choices=("guide", "asset"),
        default="guide",
        help="where less than full strength starts (default: guide)",
    )
    add("--margin", type=int, default=2, help="voxels round the region whose surface may adapt (default: 2)")
    add(
        "--growth",
        type=int,
        default=1,
        help="cells of the structure latent sampled round the region (default: 1)",
    )
    add(
        "--jumps",
        type=int,
        default=1,
        help="passes of each sampling step, which settle the new part (default: 1)",
    )
    add("--open-cut", action="store_true", help="remove without a lid where the inside shows")
    return wanted
