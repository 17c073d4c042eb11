"""Pictures to files without a user, with one backend for all: what scripts/batch.py and demo.py do."""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TextIO

import bpy

from ..backend_settings import backend_settings
from ..extension_paths import extension_root, extension_version, user_folder
from ..faults import Fault
from ..install.backend_install import find_python
from ..jobs.asset import asset_of
from ..jobs.job import Job
from ..jobs.runner import JobRunner, Launch
from ..picture_source import read_picture
from ..protocol import Array, Generate
from ..scene.asset import Asset
from ..scene.collection import add_asset
from ..scene.export import atomic, export_asset
from .progress_bar import ProgressBar

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Item:
    """One picture and the name of what it becomes."""

    picture: Path
    name: str


@dataclass
class Outcome:
    """What became of one picture; `error` is empty when all went well."""

    picture: str
    name: str
    seconds: float = 0.0
    seed: int = 0
    files: list[str] = field(default_factory=list)
    error: str = ""  # one sentence
    log: str = ""  # of the backend, where it died


def find_items(inputs: Sequence[Path]) -> list[Item]:
    """The pictures of folders and the files named, each with its own name. Fault where there is none."""
    pictures: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(
                file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()
            )
            if not found:
                raise Fault(
                    f'There is no picture in the folder "{path}": put {", ".join(SUFFIXES)} files there.'
                )
            pictures += found
        else:
            pictures.append(path)  # a file that is missing is told of in the report, like one that is broken
    items: list[Item] = []
    taken: set[str] = set()
    for picture in pictures:
        name = picture.stem
        if name.lower() in taken:  # a.png beside a.jpg, or the same name in two folders
            name = f"{picture.stem}_{picture.suffix[1:].lower()}"
        number = 2
        while name.lower() in taken:
            name, number = f"{picture.stem}_{number}", number + 1
        taken.add(name.lower())
        items.append(Item(picture, name))
    return items


def open_runner(python: str, models: Path | None) -> JobRunner:
    """A runner with the backend that is found, `python` before all others. Fault where there is none."""
    settings = backend_settings()
    found = find_python(python or settings.python, user_folder(), extension_root())
    if found is None:
        raise Fault(
            "The backend is not installed: run scripts/setup.py, or name an interpreter with --python."
        )
    log = user_folder(create=True) / "backend.log"
    remover = settings.background_remover
    return JobRunner(Launch(found, extension_root(), log, models or settings.models, remover))


def make_all(
    runner: JobRunner,
    items: Sequence[Item],
    template: Generate,
    output: Path,
    kinds: tuple[str, ...],
    stream: TextIO,
    preview_name: str = "",
) -> list[Outcome]:
    """Makes every item with the settings of `template`; a failure is noted, and the next one follows."""
    outcomes = []
    for number, item in enumerate(items, start=1):
        bar = ProgressBar(stream, f"[{number}/{len(items)}] {item.name}")
        outcome = Outcome(str(item.picture), item.name, seed=template.seed)
        began = time.monotonic()
        try:
            asset = generate(runner, item, template, bar)
            bar.update(1.0, "export", "Writing files")
            outcome.files = _export(asset, output / item.name, kinds, preview_name)
        except Fault as fault:
            outcome.error, _, outcome.log = str(fault).partition("\n")
        except Exception as error:  # whatever is wrong with one picture, the others are still to be made
            log.exception("%s met a fault of the add-on's own", item.picture)
            outcome.error = f"The add-on met a fault of its own ({error}): please report it with the log."
        except KeyboardInterrupt:
            outcome.error = "Interrupted."
        outcome.seconds = round(time.monotonic() - began, 2)
        bar.end(outcome.error or ", ".join(Path(name).name for name in outcome.files))
        outcomes.append(outcome)
        if outcome.error == "Interrupted.":
            break
    return outcomes


def generate(runner: JobRunner, item: Item, template: Generate, bar: ProgressBar) -> Asset:
    """The asset of one picture. Raises Fault with the reason where it is not made."""
    picture = read_picture(item.picture)
    request = replace(
        template,
        pictures=(Array("u1", (len(picture.data),), picture.data),),
        picture_names=(picture.name,),
    )
    name = runner.submit(request)

    def show(job: Job) -> None:
        words = "Starting the backend" if runner.is_starting else job.message
        bar.update(job.fraction, job.stage, words)

    job = runner.pump_until_done(name, show)
    if job.state != "finished":
        raise Fault(job.message)
    return asset_of(job, item.name, extension_version())


def _export(asset: Asset, base: Path, kinds: tuple[str, ...], preview_name: str) -> list[str]:
    with quiet_stdout():
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer)
        return [str(path) for path in export_asset(asset, collection, base, kinds, preview_name)]


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Blender's exporters and renderers tell every step on descriptor 1, in the middle of a progress bar."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def write_report(outcomes: Sequence[Outcome], path: Path) -> None:
    """All outcomes as JSON. Raises Fault where that cannot be written."""
    made = sum(not outcome.error for outcome in outcomes)
    report = {"made": made, "of": len(outcomes), "pictures": [asdict(outcome) for outcome in outcomes]}
    with atomic(path) as part:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def table(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as lines of text."""
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    lines = []
    for outcome in outcomes:
        state = "FAILED" if outcome.error else "made  "
        what = outcome.error or ", ".join(Path(name).name for name in outcome.files)
        lines.append(f"{state} {outcome.name:<{width}} {outcome.seconds:7.1f} s  {what}")
    made = sum(not outcome.error for outcome in outcomes)
    return "\n".join([*lines, f"{made} of {len(outcomes)} made.", ""])


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when all pictures were made, 1 when some were, 2 when none was."""
    made = sum(not outcome.error for outcome in outcomes)
    return 2 if not made else 0 if made == len(outcomes) else 1
