"""Turn a folder of pictures, or a file of jobs, into .blend, .glb and .ply files, without a window.

    blender --background --python scripts/batch.py -- --input PICTURES --output FOLDER
    python scripts/batch.py --input a.png b.jpg --output FOLDER          (where Python has the bpy module)
    python scripts/batch.py --jobs JOBS.jsonl --output FOLDER --resume

Exit code: 0 when every object was made, 1 when some were, 2 when none was. FOLDER/report.jsonl gets a line
as soon as an object has ended, report.json all of them at the end. Ctrl-C finishes the object that is being
made.
"""

import argparse
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from blender_trellis.batch import options as shared
from blender_trellis.batch.console import prepare_streams
from blender_trellis.batch.interrupts import Interrupts
from blender_trellis.batch.jobs_file import read_jobs
from blender_trellis.batch.journal import Journal
from blender_trellis.batch.outcomes import exit_code, lines, make_all, report, table
from blender_trellis.batch.plan import Skipped, plan_batch
from blender_trellis.batch.work import FILES, Work, with_latents, works_of
from blender_trellis.faults import Fault
from blender_trellis.protocol import READY_TO_USE, Format, Generate

MADE: tuple[Format, ...] = ("mesh", "gaussian")
DEFAULT_FILES = ("blend", "glb", "ply")
MOST = 1000  # seeds or variants of one picture


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    wanted = argparse.ArgumentParser(
        prog="batch.py", description="Turn pictures into 3D objects.", allow_abbrev=False
    )
    what = wanted.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", nargs="+", type=Path, metavar="PATH", help="pictures and folders")
    what.add_argument(
        "--jobs", type=Path, metavar="FILE", help="one JSON object a line, paths relative to it"
    )
    add = wanted.add_argument
    add("--output", type=Path, required=True, metavar="FOLDER")
    add("--seeds", type=count, default=1, metavar="N", help="objects of each picture, from --seed on")
    add("--vary", type=count, default=0, metavar="N", help="variants of each object, beside it")
    add("--strength", type=strength, help="of variants: 1 invents, less stays near (default: the model's)")
    add("--resume", action="store_true", help="go on after a kill: what lies in the folder is left as it is")
    add("--json", action="store_true", help="print the report's lines instead of a table")
    add("--files", nargs="+", choices=FILES, default=[], help="what to write")
    for kind in FILES:
        add(f"--{kind}", action="append_const", dest="only", const=kind, help=f"write {kind} only")
    add_library_options(wanted.add_argument_group("for Blender's Asset Browser"))
    add_generation_options(wanted)
    return wanted


def add_library_options(wanted: argparse._ArgumentGroup) -> None:
    """Options on the asset library that is filled."""
    add = wanted.add_argument
    add(
        "--asset-library",
        type=Path,
        metavar="FOLDER",
        help="put every object there as an asset too: add the folder in Blender's preferences, File Paths",
    )
    add(
        "--catalog",
        default="",
        metavar="PATH",
        help="catalogue of the assets, such as Props/Chairs (default: TRELLIS/<folder of the picture>)",
    )
    add("--author", default="", metavar="NAME", help="who is named as the assets' author")
    add("--license", default="", metavar="TEXT", help="under what the assets may be used, such as CC0-1.0")
    add("--tags", nargs="+", default=[], metavar="TAG", help="words by which the assets are found")


def add_generation_options(wanted: argparse.ArgumentParser) -> None:
    """Options on how objects are made, and with what; some default to what the preferences say."""
    shared.add_generation_options(wanted, Generate(job="", device="", precision="", engine=""))
    shared.add_finishing_options(wanted, READY_TO_USE)
    wanted.add_argument(
        "--formats",
        nargs="+",
        type=formats,
        default=[],
        help=f"what to make ({', '.join(MADE)}) and to write ({', '.join(FILES)}), with spaces or commas",
    )
    wanted.add_argument("--python", default="", help="interpreter that has the backend's packages")
    wanted.add_argument("--models", type=Path, help="folder with downloaded models")


def formats(text: str) -> list[str]:
    """The type of an option: names with commas between them."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or not set(names) <= {*MADE, *FILES}:
        raise argparse.ArgumentTypeError(f"{text!r} is not of {', '.join((*MADE, *FILES))}")
    return names


def count(text: str) -> int:
    """The type of an option: 1 to MOST."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        raise argparse.ArgumentTypeError(f"{text} of each cannot be made; choose 1 to {MOST}")
    return int(text)


def strength(text: str) -> float:
    """The type of an option: above 0, up to 1."""
    if not 0 < (value := shared.guidance(text)) <= 1:
        raise argparse.ArgumentTypeError(f"the strength cannot be {text}; choose a value above 0 and up to 1")
    return value


def main(arguments: list[str]) -> int:
    """Makes everything that the arguments ask for; the exit code."""
    options = parser().parse_args(arguments)
    if options.jobs is not None and (options.seeds > 1 or options.vary or options.strength is not None):
        parser().error("--seeds, --vary and --strength go with --input; a file of jobs says its own")
    if options.asset_library is None and (
        options.catalog or options.author or options.license or options.tags
    ):
        parser().error("--catalog, --author, --license and --tags go with --asset-library")
    if options.strength is not None and not options.vary:
        parser().error("--strength is that of variants; say how many with --vary")
    named = [name for names in options.formats for name in names if name in FILES]
    kinds = tuple(dict.fromkeys(options.only or [*options.files, *named] or DEFAULT_FILES))
    skipped: tuple[Skipped, ...] = ()
    try:
        if options.jobs is not None:
            works = read_jobs(options.jobs, options.seed)
        else:
            plan = plan_batch(options.input)
            works = works_of(plan.items, options.seed, options.seeds, options.vary, options.strength)
            skipped = plan.skipped
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return run(options, with_latents(works, kinds), skipped, resume=options.resume, as_json=options.json)


def run(
    options: argparse.Namespace,
    works: list[Work],
    skipped: tuple[Skipped, ...] = (),
    preview_name: str = "",
    resume: bool = False,
    as_json: bool = False,
) -> int:
    """One backend makes all objects; writes the files, the reports and the last word. The exit code."""
    from blender_trellis.batch import run as in_blender  # imports bpy
    from blender_trellis.scene.export import check_target, prepare_folder, remove_leftovers

    interrupts = Interrupts()
    try:
        prepare_folder(options.output)
        output = options.output.resolve()
        library = library_of(options, output)
        if resume:
            remove_leftovers(output)
        for name in ("report.json", "report.jsonl"):
            check_target(output / name)
        runner = in_blender.open_runner(options.python, options.models)
        journal = Journal(output, resume)
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    made = tuple(name for name in MADE if name in {one for names in options.formats for one in names})
    maker = in_blender.Maker(
        runner,
        in_blender.with_settings(
            replace(shared.request_of(options, made or MADE), finishing=shared.finishing_of(options))
        ),
        in_blender.Written(output, preview_name, library),
        journal,
    )
    try:
        outcomes = make_all(
            works,
            output,
            options.seed,
            maker.make,
            in_blender.explain,
            sys.stderr,
            made=maker.made,
            note=maker.note,
            is_stopping=lambda: interrupts.asked,
        )
    finally:
        runner.close()
        journal.close()
    try:
        in_blender.write_report(report(outcomes, skipped, "pictures"), output / "report.json")
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
    sys.stdout.write(lines(outcomes) if as_json else table(outcomes, skipped))
    return exit_code(outcomes)


def library_of(options: argparse.Namespace, output: Path):
    """The asset library to fill, ready to be written to; None where none is asked for. Raises Fault."""
    if getattr(options, "asset_library", None) is None:
        return None
    from blender_trellis.batch.library.asset_library import AssetLibrary
    from blender_trellis.scene.asset_marking import AssetMarks

    folder = options.asset_library.resolve()
    if folder == output:
        raise Fault("The asset library cannot be the output folder too: choose another one for it.")
    tags = tuple(tag.strip() for text in options.tags for tag in text.split(",") if tag.strip())
    library = AssetLibrary(folder, AssetMarks(options.author, options.license, tags), options.catalog)
    library.prepare()
    return library


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
