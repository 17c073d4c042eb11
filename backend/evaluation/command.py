"""`python -m backend evaluate`: how well a model does on objects that it never saw, beside two baselines.

The last line of stdout is one JSON object with --json. The exit code is 0, 1 or 2 when all, some or none of
the meshes could be scored.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from backend.errors import UserError
from blender_trellis.batch.options import seed


def main(argv: Sequence[str]) -> int:
    """Runs the command."""
    options = parser().parse_args(argv)
    try:
        return (_write if options.write_bank or options.write_list else _evaluate)(options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    wanted = argparse.ArgumentParser(prog="python -m backend evaluate", description=__doc__)
    wanted.add_argument("--meshes", type=Path, help="folder of glb, gltf, obj, ply, stl or npz objects")
    wanted.add_argument(
        "--pictures", type=Path, help="folder of pictures whose objects nobody knows, instead"
    )
    wanted.add_argument("--model", default="starter", help="a bundled or installed model, or a folder")
    wanted.add_argument("--views", type=_positive, default=2, help="pictures of each object (default 2)")
    wanted.add_argument("--seed", type=seed, default=1, help="of the sampling and of the random views")
    wanted.add_argument("--seeds", type=_positive, default=1, help="so many, from --seed on (default 1)")
    wanted.add_argument("--json", action="store_true", help="end with one JSON object on a line")
    wanted.add_argument("--train", type=Path, help="the training objects (default: a bundled copy of theirs)")
    wanted.add_argument("--sheets", type=Path, help="folder for contact sheets of all objects")
    wanted.add_argument("--report", type=Path, help="document to write the scores into, between its markers")
    wanted.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    wanted.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16")
    wanted.add_argument("--threads", type=_positive, default=os.cpu_count() or 1)
    wanted.add_argument("--write-bank", type=Path, help="write the bundled copy of --train here, and stop")
    wanted.add_argument("--write-list", type=Path, help="write what --train consists of here, and stop")
    return wanted


def _write(options: argparse.Namespace) -> int:
    from backend.evaluation.training_shapes import write_shapes
    from backend.geometry.mesh_files import read_catalogue
    from backend.geometry.signature import write_list

    entries = read_catalogue(_given(options.train, "--train"))
    if options.write_bank:
        write_shapes(entries, options.write_bank, options.threads)
    if options.write_list:
        write_list(entries, options.write_list)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    import torch

    from backend.evaluation.contact_sheet import write_sheets
    from backend.evaluation.report import around_report, write_markdown
    from backend.evaluation.run import Settings, evaluate, sighted
    from backend.evaluation.training_shapes import read_shapes, shapes_of
    from backend.files import make_writable_folder
    from backend.geometry.mesh_files import read_catalogue
    from backend.machine.device import choose_device, choose_dtype
    from backend.trellis.networks import Networks

    entries = () if options.pictures else read_catalogue(_given(options.meshes, "--meshes"))
    if options.sheets:
        make_writable_folder(options.sheets)
    if options.report:
        around_report(options.report)  # refused before the objects are scored
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    pipeline = Networks.open(options.model, device, choose_dtype(device, options.precision))
    settings = Settings(
        options.views, options.seed, options.seeds, options.sheets is not None, options.threads
    )
    faults: list[str] = []
    if options.pictures:
        outcome = sighted(pipeline, settings, options.pictures, faults.append)
    else:
        trained = (
            shapes_of(read_catalogue(options.train), options.threads) if options.train else read_shapes()
        )
        outcome = evaluate(pipeline, trained, settings, entries, faults.append)
    sheets = write_sheets(outcome.rows, options.sheets) if options.sheets else []
    if options.report:
        write_markdown(outcome.report, sheets, options.report)
    sys.stdout.write(outcome.report.text)
    if options.json:
        sys.stdout.write(outcome.report.json + "\n")
    sys.stderr.write("".join(f"{fault}\n" for fault in faults))
    return 1 if faults else 0


def _given(folder: Path | None, option: str) -> Path:
    if folder is None:
        raise UserError(f"Give a folder of meshes with {option}.")
    return folder


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
