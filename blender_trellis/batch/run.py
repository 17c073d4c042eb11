"""The objects of a batch inside Blender: the request to the backend, the answer to a scene and to files."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..backend_settings import backend_settings
from ..extension_paths import extension_root, extension_version, user_folder
from ..faults import Fault
from ..install.backend_install import find_python
from ..jobs.asset import asset_of
from ..jobs.job import Job
from ..jobs.launch import CommandLaunch, Launch
from ..jobs.runner import JobRunner
from ..protocol import OF_FILE, Generate
from ..scene.asset import Asset
from ..scene.collection import add_asset
from ..scene.export import atomic, check_targets, export_asset, target
from .asset_file import open_asset
from .journal import Journal
from .latents_file import write_latents
from .library.asset_library import AssetLibrary
from .outcomes import Outcome
from .plan import name_for
from .progress_bar import ProgressBar
from .requests import Asked, Request, not_made, request_for, request_hash
from .work import Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Where the files of all objects go, and how a .glb stores its texture: as png, jpeg or webp."""

    folder: Path
    preview_name: str = ""
    library: AssetLibrary | None = None
    encoding: str = "png"


def check_inputs(works: Sequence[Work], written: Written) -> None:
    """Fault where a file that would be written is one of those that the batch is made of."""
    given = {path for work in works for path in (*work.pictures, work.asset) if path is not None}
    known = {_identity(path): path for path in given}
    known.pop(None, None)
    for work in works:
        base = written.folder / name_for(written.folder, work.name)
        for kind in work.files or ():
            path = target(base, kind, written.preview_name)
            if (identity := _identity(path)) in known:
                raise Fault(f'"{known[identity]}" would be overwritten: choose another output folder.')


def _identity(path: Path) -> tuple[int, int] | None:
    """Equal for all names of one file; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_runner(python: str, models: Path | None) -> JobRunner:
    """A runner with the backend that is found, `python` before all others. Fault where there is none."""
    command = backend_settings().command
    if command and not python:
        if models is not None:
            raise Fault(
                "--models does not go with the preferences' Backend Command, which says itself where models "
                "lie: leave it out, or name an interpreter with --python."
            )
        return JobRunner(CommandLaunch(command, user_folder() / "backend.log"))
    return JobRunner(find_launch(python, models))


def find_launch(python: str, models: Path | None) -> Launch:
    """How the backend of this machine is started, by `python` if that is named. Fault where there is none."""
    settings = backend_settings()
    log = user_folder() / "backend.log"  # made where it can be: a worker of a farm may have no home
    found = find_python(python or settings.python, user_folder(), extension_root())
    if found is None:
        raise Fault(
            "The backend is not installed: run scripts/setup.py, or name an interpreter with --python."
        )
    remover = settings.background_remover
    return Launch(found, extension_root(), log, models or settings.models, remover)


def with_settings(request: Request) -> Request:
    """The request, with the preferences' device, precision and engine where it names none."""
    settings = backend_settings()
    return replace(
        request,
        device=request.device or settings.device,
        precision=request.precision or settings.precision,
        engine=request.engine or settings.engine,
        memory=request.memory if request.memory != "auto" else settings.memory,
    )


class Maker:
    """Makes the objects of one batch, one after the other, with the settings of `template`."""

    def __init__(self, template: Generate, written: Written, journal: Journal):
        self._template = template
        self._written = written
        self._journal = journal

    def made(self, work: Work) -> Outcome | None:
        """What an earlier run has made of an equal request, if its files still lie there."""
        if not self._journal.tells_of(work.name):
            return None
        try:
            request = self._asked(work).request
            outcome = self._journal.made(work.name, self._hash(work, request))
            return outcome if outcome is not None and self._has_entered(outcome, work, request) else None
        except (Fault, OSError):
            return None  # it is made again, and told of where that fails too

    def make(self, runner: JobRunner, work: Work, outcome: Outcome, bar: ProgressBar) -> None:
        """Makes one object and writes its files. Fault where that cannot be."""
        asked = self.ask(work, outcome)
        job = _run(runner, with_settings(asked.request), bar)
        bar.update(1.0, "export", "Writing files")
        self.finish(work, outcome, asked, job)

    def ask(self, work: Work, outcome: Outcome) -> Asked:
        """What to ask the backend for. Fault where that, or writing its files, cannot be."""
        kinds = work.files or ()
        check_targets(self._written.folder / work.name, kinds, self._written.preview_name)
        asked = self._asked(work)
        if kinds and all(
            OF_FILE.get(kind, asked.request.formats[0]) not in asked.request.formats for kind in kinds
        ):
            raise Fault("Nothing would be written: .glb needs the format mesh, .ply the format gaussian.")
        outcome.request_hash = self._hash(work, asked.request)
        return asked

    def finish(self, work: Work, outcome: Outcome, asked: Asked, job: Job) -> None:
        """Writes the files of a job that has ended. Fault where it has failed or they cannot be written."""
        if job.state != "finished":
            raise Fault(job.message)
        base, kinds, preview = self._written.folder / work.name, work.files or (), self._written.preview_name
        asset = asset_of(job, work.name, extension_version())
        outcome.model_hash = str(asset.properties["model_hash"])
        outcome.picture_hash = str(asset.properties["picture_hash"])
        with quiet_stdout():
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            matrix = None if asked.matrix is None else Matrix(asked.matrix) @ frame_matrix(asset)
            collection = add_asset(asset, bpy.context.scene, bpy.context.view_layer, matrix)
            paths = export_asset(asset, collection, base, kinds, preview, self._written.encoding)
            if "latents" in kinds and asset.latents is not None:
                paths.append(target(base, "latents"))
                write_latents(paths[-1], asset.latents, None if matrix is None else np.array(matrix))
            outcome.files = [str(path) for path in paths]
            if self._written.library is not None:
                self._add(collection, outcome, work, asked.request)

    def _add(self, collection: bpy.types.Collection, outcome: Outcome, work: Work, request: Request) -> None:
        """Puts an object into the asset library; a fault of that does not spoil its files."""
        assert self._written.library is not None
        try:
            outcome.asset = str(self._written.library.add(collection, work, request_hash(request)))
        except Fault as fault:
            outcome.library_error = str(fault)

    def _has_entered(self, outcome: Outcome, work: Work, request: Request) -> bool:
        """Whether what an earlier run has made could be put into the asset library, if there is one."""
        outcome.library_error = ""
        library = self._written.library
        if library is None or library.holds(outcome.asset):
            return True
        saved = next((name for name in outcome.file_names if name.endswith(".blend")), None)
        if saved is None:
            return False
        with quiet_stdout():
            collection = open_asset(self._written.folder / saved)
            if collection is None:
                return False
            self._add(collection, outcome, work, request)
        self.note(outcome)
        return True

    def note(self, outcome: Outcome) -> None:
        """Tells the report, which the batch does not depend on."""
        try:
            self._journal.note(outcome)
        except Fault as fault:
            sys.stderr.write(f"{fault}\n")

    def _asked(self, work: Work) -> Asked:
        folder = self._written.folder
        if work.of and self._journal.failed(name_for(folder, work.of)):
            raise not_made(work.of)  # whose latents, if they are there, are those of an earlier run
        with quiet_stdout():
            return request_for(work, self._template, folder)

    def _hash(self, work: Work, request: Request) -> str:
        written = self._written
        return request_hash(request, (*(work.files or ()), written.preview_name, written.encoding))


def _run(runner: JobRunner, request: Request, bar: ProgressBar) -> Job:
    def show(job: Job) -> None:
        bar.update(job.fraction, job.stage, "Starting the backend" if runner.is_starting else job.message)

    return runner.pump_until_done(runner.submit(request), show)


def frame_matrix(asset: Asset) -> Matrix:
    """Takes the asset's unit cube into the frame of the mesh that it was made of."""
    scale, *offset = asset.frame
    return Matrix.Translation(offset) @ Matrix.Scale(scale, 4)


def explain(error: Exception) -> str:
    """One sentence; where the backend died, its log on the lines below."""
    if isinstance(error, Fault):
        return str(error)
    log.error("An object met a fault of the add-on's own", exc_info=error)
    return f"The add-on met a fault of its own ({error}): please report it with the log."


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
