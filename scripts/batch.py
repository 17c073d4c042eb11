"""Turn a folder of pictures into .blend, .glb and .ply files, without a window.

    blender --background --python scripts/batch.py -- --input PICTURES --output FOLDER
    python scripts/batch.py --input a.png b.jpg --output FOLDER          (where Python has the bpy module)

Exit code: 0 when every picture was made, 1 when some were, 2 when none was. FOLDER/report.json
says which and why not.
"""

import argparse
import os
import sys
import traceback
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from blender_trellis.batch import options as shared
from blender_trellis.batch.console import prepare_streams
from blender_trellis.batch.outcomes import exit_code, make_all, report, table
from blender_trellis.batch.plan import plan_batch
from blender_trellis.faults import Fault
from blender_trellis.protocol import Generate

FILES = ("blend", "glb", "ply", "preview")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    wanted = argparse.ArgumentParser(
        prog="batch.py", description="Turn pictures into 3D objects, one each.", allow_abbrev=False
    )
    wanted.add_argument(
        "--input", nargs="+", type=Path, required=True, metavar="PATH", help="pictures and folders"
    )
    wanted.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    wanted.add_argument(
        "--files", nargs="+", choices=FILES, default=["blend", "glb", "ply"], help="what to write"
    )
    for kind in FILES:
        wanted.add_argument(
            f"--{kind}", action="append_const", dest="only", const=kind, help=f"write {kind} only"
        )
    add_generation_options(wanted)
    return wanted


def add_generation_options(wanted: argparse.ArgumentParser) -> None:
    """Options on how objects are made, and with what; some default to what the preferences say."""
    shared.add_generation_options(wanted, Generate(job="", device="", precision="", engine=""))
    wanted.add_argument("--formats", nargs="+", choices=("mesh", "gaussian"), default=["mesh", "gaussian"])
    wanted.add_argument("--python", default="", help="interpreter that has the backend's packages")
    wanted.add_argument("--models", type=Path, help="folder with downloaded models")


def main(arguments: list[str]) -> int:
    """Makes everything that the arguments ask for; the exit code."""
    options = parser().parse_args(arguments)
    kinds = tuple(dict.fromkeys(options.only or options.files))
    return run(options, options.input, kinds)


def run(
    options: argparse.Namespace, inputs: list[Path], kinds: tuple[str, ...], preview_name: str = ""
) -> int:
    """One backend makes all the inputs; writes the files, the report and the table."""
    from blender_trellis.batch import run as in_blender  # imports bpy
    from blender_trellis.scene.export import check_target, prepare_folder

    try:
        plan = plan_batch(inputs)
        prepare_folder(options.output)
        check_target(options.output / "report.json")
        runner = in_blender.open_runner(options.python, options.models)
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    output = options.output.resolve()
    request = in_blender.with_settings(shared.request_of(options, tuple(options.formats)))
    written = in_blender.Written(output, kinds, preview_name)
    try:
        make = partial(in_blender.make, runner, request, written)
        outcomes = make_all(plan.items, output, options.seed, make, in_blender.explain, sys.stderr)
    finally:
        runner.close()
    try:
        in_blender.write_report(report(outcomes, plan.skipped, "pictures"), output / "report.json")
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
    sys.stdout.write(table(outcomes, plan.skipped))
    return exit_code(outcomes)


def own_arguments() -> list[str]:
    """What follows `--`; Blender keeps everything before it. Without Blender, all."""
    if "--" in sys.argv:
        return sys.argv[sys.argv.index("--") + 1 :]
    inside_blender = Path(sys.argv[0]).suffix != ".py"
    return [] if inside_blender else sys.argv[1:]


def leave(code: int) -> None:
    """Ends the process at once: Blender does not hand a script's exit code on, and 4.2 crashes on its way out
    after a glTF export."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_and_leave(function) -> None:
    """Runs a main function and ends the process with its code, whatever happens in it."""
    prepare_streams()
    try:
        code = function(own_arguments())
    except SystemExit as request:  # argparse's
        code = request.code if isinstance(request.code, int) else 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        code = 2
    except Exception:  # noqa: BLE001 (Blender would exit with 0)
        traceback.print_exc()
        code = 2
    leave(code)


if __name__ == "__main__":
    run_and_leave(main)
