"""One object of a batch inside Blender: the picture to the backend, the answer to a scene and to files."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

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
from ..scene.collection import add_asset
from ..scene.export import atomic, check_targets, export_asset
from .outcomes import Outcome
from .plan import Item
from .progress_bar import ProgressBar

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Where the files of all objects go, and which there are (as `export_asset` takes them)."""

    folder: Path
    kinds: tuple[str, ...]
    preview_name: str = ""


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


def with_settings(request: Generate) -> Generate:
    """The request, with the preferences' device, precision and engine where it names none."""
    settings = backend_settings()
    return replace(
        request,
        device=request.device or settings.device,
        precision=request.precision or settings.precision,
        engine=request.engine or settings.engine,
        memory=request.memory if request.memory != "auto" else settings.memory,
    )


def make(
    runner: JobRunner, template: Generate, written: Written, item: Item, outcome: Outcome, bar: ProgressBar
) -> None:
    """Makes one object with the settings of `template` and writes its files. Fault where that cannot be."""
    base = written.folder / item.name
    check_targets(base, written.kinds, written.preview_name)
    job = _generate(runner, template, item.pictures[0], bar)
    bar.update(1.0, "export", "Writing files")
    asset = asset_of(job, item.name, extension_version())
    outcome.model_hash = str(asset.properties["model_hash"])
    outcome.picture_hash = str(asset.properties["picture_hash"])
    with quiet_stdout():
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer)
        paths = export_asset(asset, collection, base, written.kinds, written.preview_name)
    outcome.files = [str(path) for path in paths]


def explain(error: Exception) -> str:
    """One sentence; where the backend died, its log on the lines below."""
    if isinstance(error, Fault):
        return str(error)
    log.error("An object met a fault of the add-on's own", exc_info=error)
    return f"The add-on met a fault of its own ({error}): please report it with the log."


def _generate(runner: JobRunner, template: Generate, path: Path, bar: ProgressBar) -> Job:
    picture = read_picture(path)
    name = runner.submit(
        replace(
            template,
            pictures=(Array("u1", (len(picture.data),), picture.data),),
            picture_names=(picture.name,),
        )
    )

    def show(job: Job) -> None:
        words = "Starting the backend" if runner.is_starting else job.message
        bar.update(job.fraction, job.stage, words)

    job = runner.pump_until_done(name, show)
    if job.state != "finished":
        raise Fault(job.message)
    return job


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


def write_report(text: str, path: Path) -> None:
    """Raises Fault where that cannot be written."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")
