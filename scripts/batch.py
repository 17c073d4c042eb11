"""Turn a folder of pictures, or a file of jobs, into .blend, .glb and .ply files, without a window.

    blender --background --python scripts/batch.py -- --input PICTURES --output FOLDER
    python scripts/batch.py --input a.png b.jpg --output FOLDER          (where Python has the bpy module)
    python scripts/batch.py --jobs JOBS.jsonl --output FOLDER --resume

Exit code: 0 when every object was made, 1 when some were, 2 when none was; with --lenient 0 whenever the
report could be written. FOLDER/report.jsonl gets a line as soon as an object has ended, report.json all of
them at the end. Ctrl-C finishes the object that is being made.
"""

import argparse
import os
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from blender_trellis.batch import options as shared
from blender_trellis.batch.console import prepare_streams
from blender_trellis.batch.interrupts import Interrupts
from blender_trellis.batch.jobs_file import KEYS, read_jobs
from blender_trellis.batch.journal import REPORT, Journal, files_noted, report_name_of
from blender_trellis.batch.outcomes import Outcome, exit_code, lines, make_all, report, table
from blender_trellis.batch.plan import Skipped, plan_batch
from blender_trellis.batch.work import FILES, Work, model_in, with_latents, works_of, works_of_share
from blender_trellis.faults import Fault
from blender_trellis.protocol import READY_TO_USE, Format, Generate

MADE: tuple[Format, ...] = ("mesh", "gaussian")
DEFAULT_FILES = ("blend", "glb", "ply")
MOST = 1000  # seeds or variants of one picture


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    wanted = argparse.ArgumentParser(
        prog="batch.py",
        description="Turn pictures into 3D objects, without a window.",
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = wanted.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--input",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="pictures, each of one object, and folders of them",
    )
    what.add_argument(
        "--jobs",
        type=Path,
        metavar="FILE",
        help=f"one JSON object a line, paths relative to the file. Of these: {', '.join(KEYS['generate'])}; "
        f"vary also {_further('vary')}; edit {_further('edit')}",
    )
    add = wanted.add_argument
    add("--output", type=Path, required=True, metavar="FOLDER", help="for the objects and the report")
    add("--resume", action="store_true", help="go on after a kill or Ctrl-C: only what is missing is made")
    add("--seeds", type=count, default=1, metavar="N", help="objects of each picture, from --seed on (1)")
    add("--vary", type=count, default=0, metavar="N", help="variants of each object, beside it (0)")
    add("--strength", type=strength, help=f"of variants: {shared.STRENGTH_HELP}")
    add_file_options(wanted.add_argument_group("what is written"))
    add_machine_options(wanted.add_argument_group("several machines"))
    add_library_options(wanted.add_argument_group("for Blender's Asset Browser"))
    add_generation_options(wanted)
    return wanted


def _further(do: str) -> str:
    return ", ".join(key for key in KEYS[do] if key not in KEYS["generate"])


def add_file_options(wanted: argparse._ArgumentGroup) -> None:
    """Options on what the files hold and which there are."""
    add = wanted.add_argument
    add(
        "--files",
        nargs="+",
        choices=FILES,
        default=[],
        metavar="NAME",
        help=f"of {', '.join(FILES)}; see --formats",
    )
    for kind in FILES:
        add(f"--{kind}", action="append_const", dest="only", const=kind, help=f"write {kind} only")
    add("--json", action="store_true", help="print the report's lines instead of a table at the end")


def add_machine_options(wanted: argparse._ArgumentGroup) -> None:
    """Options on a batch that several machines or devices make."""
    add = wanted.add_argument
    add(
        "--share",
        type=share,
        metavar="K/N",
        help="only the K-th of N parts, which may run at once, on several machines, into one folder; then "
        "the same command without --share and with --resume makes what is missing, and one report of all",
    )
    add(
        "--lenient",
        action="store_true",
        help="exit with 0 whenever the report could be written, whatever could not be made: for parts of a "
        "farm's job, which a few that fail would end",
    )
    add(
        "--ray",
        type=cluster_address,
        metavar="ADDRESS",
        help="make several objects at once on a Ray cluster, one on each graphics card: local, auto, or its "
        "head's host:port (pip install -r backend/requirements/ray.txt in the backend's Python)",
    )


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
    shared.add_background_option(wanted)
    shared.add_finishing_options(wanted, READY_TO_USE)
    wanted.add_argument(
        "--formats",
        nargs="+",
        type=formats,
        default=[],
        metavar="NAMES",
        help=f"files ({', '.join(FILES)}; default: {','.join(DEFAULT_FILES)}) and, to make fewer than both, "
        f"{' or '.join(MADE)}; with spaces or commas",
    )
    wanted.add_argument(
        "--python",
        type=program,
        default="",
        help="interpreter that has the backend's packages (default: the one installed)",
    )
    wanted.add_argument("--models", type=folder, help="folder with downloaded models")


def formats(text: str) -> tuple[str, ...]:
    """The type of an option: names of what is made or of files, with commas between them."""
    return shared.format_names(text, (*MADE, *FILES))


def folder(text: str) -> Path:
    """The type of an option: a folder, from here; the backend starts in another one."""
    return Path(os.path.expanduser(text)).absolute()


def program(text: str) -> str:
    """The type of an option: a file, from here, or a name that the system finds."""
    return str(folder(text)) if text and os.path.exists(os.path.expanduser(text)) else text


def cluster_address(text: str) -> str:
    """The type of an option: anything but nothing, such as a variable that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the address is empty; give local, auto, or the head's host:port")
    return text.strip()


def count(text: str) -> int:
    """The type of an option: 1 to MOST."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        raise argparse.ArgumentTypeError(f"{text} of each cannot be made; choose 1 to {MOST}")
    return int(text)


def share(text: str) -> tuple[int, int]:
    """The type of an option: K/N, the K-th of N parts."""
    part, slash, parts = text.partition("/")
    if not slash or not 1 <= count(part) <= count(parts):
        raise argparse.ArgumentTypeError(f"{text} is no part; the second of eight is 2/8")
    return int(part), int(parts)


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
            plan = plan_batch(options.input, made=files_noted(options.output))
            works = works_of(plan.items, options.seed, options.seeds, options.vary, options.strength)
            skipped = plan.skipped
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    works = with_latents(works, kinds)
    if options.share is not None:
        works = works_of_share(works, *options.share)
        if not works:
            sys.stderr.write("There are fewer objects than parts: nothing is left for this one.\n")
            return 0
    return run(options, works, skipped, resume=options.resume, as_json=options.json)


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
    from blender_trellis.batch.library.options import library_of
    from blender_trellis.scene.export import check_target, prepare_folder, remove_leftovers

    try:
        prepare_folder(options.output)
        output = options.output.resolve()
        library = library_of(options, output)
        report_name = report_name_of(getattr(options, "share", None))
        for suffix in (".json", ".jsonl"):
            check_target(output / (report_name + suffix))
        written = in_blender.Written(output, preview_name, library, options.encoding)
        in_blender.check_inputs(works, written)
        hands = open_backend(options)
        journal = Journal(output, resume, report_name)
        if resume and report_name == REPORT:  # else other parts may be writing files
            remove_leftovers(output)
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    made = tuple(name for name in MADE if name in {one for names in options.formats for one in names})
    settings = shared.request_of(options, made or MADE)
    settings = replace(
        settings, model=model_in(Path(), settings.model), finishing=shared.finishing_of(options)
    )
    maker = in_blender.Maker(settings, written, journal)
    try:
        outcomes = make_works(options, works, output, maker, hands)
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    finally:
        hands.close()
        journal.close()
    is_lenient = getattr(options, "lenient", False)
    try:
        in_blender.write_report(report(outcomes, skipped, "pictures"), output / f"{report_name}.json")
    except Fault as fault:
        sys.stderr.write(f"{fault}\n")
        is_lenient = False
    sys.stdout.write(lines(outcomes) if as_json else table(outcomes, skipped))
    return 0 if is_lenient else exit_code(outcomes)


def open_backend(options: argparse.Namespace):
    """What will run the jobs: a crew on a cluster, or a runner of one after the other. Raises Fault."""
    from blender_trellis.batch import at_once
    from blender_trellis.batch import run as in_blender

    if address := getattr(options, "ray", ""):
        launch = in_blender.find_launch(options.python, options.models)
        return at_once.Crew(replace(launch, module=("-m", "backend", "ray", address)))
    return in_blender.open_runner(options.python, options.models)


def make_works(options: argparse.Namespace, works: list[Work], output: Path, maker, hands) -> list[Outcome]:
    """Makes all objects by what `open_backend` gave. Fault where there is no backend."""
    from blender_trellis.batch import at_once
    from blender_trellis.batch import run as in_blender

    interrupts = Interrupts()
    if isinstance(hands, at_once.Crew):
        every = at_once.AtOnce(works, output, options.seed, maker, hands, sys.stderr)
        return every.run(lambda: interrupts.asked)
    return make_all(
        works,
        output,
        options.seed,
        partial(maker.make, hands),
        in_blender.explain,
        sys.stderr,
        made=maker.made,
        note=maker.note,
        is_stopping=lambda: interrupts.asked,
    )


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
