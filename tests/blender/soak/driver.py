"""Lives through faults in one Blender, one line for each; a crash or a hang is for soak.py to notice.

python driver.py SEED FIRST END HOME fake|real [recover]
"""

import contextlib
import faulthandler
import os
import resource
import signal
import stat
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import bpy  # noqa: E402
from faults import BROKEN, CRASH, HARMLESS, LIES, Fault, fault_of  # noqa: E402

import blender_trellis  # noqa: E402
from blender_trellis.jobs import runner, session  # noqa: E402
from blender_trellis.protocol.pictures import PNG  # noqa: E402

SECONDS = {"fake": 30.0, "real": 240.0}  # after which a job that does not come on hangs
SILENT_SECONDS = {"fake": 3.0, "real": 30.0}
FINISHED = {True: ("game", "512"), False: ("raw", "0")}


class Wrong(Exception):
    """What is not as it must be."""


class Soak:
    """The faults in turn."""

    def __init__(self, home: Path, which: str):
        self._home, self._which = home, which
        self._listed: dict[str, session.Listed] = {}  # jobs as they were last seen
        self._finished = False  # whether meshes get a texture now
        self._seen: set[str] = set()  # assets that were in the scene, also where a new file was opened since

    def prepare(self) -> None:
        """The add-on with a backend that misbehaves."""
        real = ROOT / ".venv" / "bin" / "python"
        behind = (
            f'"{real}" -E -s -m backend'
            if self._which == "real"
            else (f'"{sys.executable}" "{ROOT / "tests" / "blender" / "fake_backend.py"}"')
        )
        python = self._home / "python"
        python.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "unruly.py"}" {behind}\n'
        )
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        os.environ |= {"TRELLIS_PYTHON": str(python), "HOME": str(self._home)}
        runner.CANCEL_SECONDS, runner.SILENT_SECONDS = 1.0, SILENT_SECONDS[self._which]
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        blender_trellis.register()
        self._set()

    def _set(self) -> None:
        settings = bpy.context.scene.trellis
        settings.formats = {"mesh"}
        settings.finish.preset, settings.finish.texture = FINISHED[self._finished]

    def live_through(self, fault: Fault) -> None:
        """One fault; raises Wrong."""
        self._seen, self._listed = set(), {}
        self._finished = self._which == "real" and fault.finished
        self._set()
        session.forget()
        session.dismiss()
        names = [fault.picture, f"h{fault.number}.png"]
        for name in names:
            self._submit(name)
        self._pump(fault)
        self._check(fault, names)
        self._tidy(fault.action in ("delete", "undo"))

    def recover(self, fault: Fault) -> None:
        """After a death of Blender: what was not in a saved file is made again, or was kept."""
        session.state.current().keeper.left()
        session.continue_left()
        self._pump(Fault(fault.number, fault.kind, fault.at, "nothing", 0))
        self._see()
        if f"h{fault.number}" not in self._seen:
            raise Wrong(f"h{fault.number} is lost: {self._states()}")
        self._tidy(True)

    def _submit(self, name: str) -> None:
        path = self._home / name
        data = PNG + b"ball" if self._which == "fake" else (ROOT / "docs/pictures/mushroom.png").read_bytes()
        path.write_bytes(data)
        bpy.context.scene.trellis.picture = str(path)
        if bpy.ops.trellis.generate() != {"FINISHED"}:
            raise Wrong("Generate did not take the picture")
        path.unlink()

    def _pump(self, fault: Fault) -> None:
        ticks, acted = 0, fault.action == "nothing"
        came_on, before = time.monotonic(), None
        with contextlib.ExitStack() as stack:  # of what an action has changed until the jobs have ended
            while session.timer.is_busy(session.state.current()) or not acted:
                session.timer.tick()
                self._see()
                ticks += 1
                if ticks >= fault.ticks and not acted:
                    acted = True
                    self._act(fault, stack)
                now = session.listed_jobs()
                if now != before:
                    came_on, before = time.monotonic(), now
                if time.monotonic() - came_on > SECONDS[self._which]:
                    raise Wrong(f"a job never ends: {self._states()}")
                time.sleep(0.01)

    def _act(self, fault: Fault, stack: contextlib.ExitStack) -> None:
        match fault.action:
            case "cancel":
                session.cancel(next(iter(self._running()), ""))
            case "new_file":
                bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
                self._set()
            case "reload":
                path = str(self._home / "saved.blend")
                bpy.ops.wm.save_as_mainfile(filepath=path, compress=False)
                bpy.ops.wm.open_mainfile(filepath=path)
            case "undo":
                bpy.ops.ed.undo_push(message="before")
                bpy.ops.mesh.primitive_cube_add()
                bpy.ops.ed.undo_push(message="cube")
                if bpy.ops.ed.undo.poll():
                    bpy.ops.ed.undo()
            case "delete":
                for collection in list(bpy.data.collections):
                    bpy.data.collections.remove(collection)
            case "kill":
                process = session.state.current().runner._process
                if process is not None and process._process is not None:
                    process._process.kill()
            case "disable":
                blender_trellis.unregister()
                blender_trellis.register()
                self._set()
                session.state.current().keeper.left()
                session.continue_left()
            case "full_disk":
                soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
                stack.callback(_have_room, (soft, hard))
            case _ if fault.action == CRASH:
                session.state.current().keeper._writer.submit(lambda: None).result()
                report("dies", fault)
                os.kill(os.getpid(), signal.SIGKILL)

    def _running(self) -> list[str]:
        return [job.id for job in session.listed_jobs() if job.state in ("queued", "running")]

    def _see(self) -> None:
        self._seen |= {one.name.partition(".")[0] for one in bpy.data.collections}
        self._listed |= {job.name: job for job in session.listed_jobs()}

    def _states(self) -> str:
        return ", ".join(f"{job.name} {job.state}: {job.message}" for job in session.listed_jobs())

    def _check(self, fault: Fault, names: list[str]) -> None:
        self._see()
        states = self._listed
        for name in (Path(name).stem for name in names):
            job = states.get(name)
            if job is None:
                raise Wrong(f"{name} is on no list: {self._states()}")
            if job.state == "finished" and name not in self._seen:
                raise Wrong(f"{name} is finished and in no scene")
            if job.state == "failed" and not job.message:
                raise Wrong(f"{name} failed without a word")
        first, second = (states[Path(name).stem] for name in names)
        # A real backend that starts on a full disk has no room for its own temporary files.
        no_room = fault.action == "full_disk" and self._which == "real"
        disturbed = fault.action in ("cancel", "kill") or no_room
        if second.state != "finished" and not disturbed:
            raise Wrong(f"the next job was not made: {self._states()}")
        if fault.kind in HARMLESS and first.state != "finished" and not disturbed:
            raise Wrong(f"{first.name} was given up: {self._states()}")
        if fault.kind in LIES and first.state == "finished":
            raise Wrong(f"{first.name} was believed")
        if fault.kind in BROKEN and first.state not in ("failed", "cancelled", "finished"):
            raise Wrong(f"{first.name} is {first.state}")
        left = [mesh.name for mesh in bpy.data.meshes if mesh.users == 0]
        if left and fault.action not in ("delete", "undo"):
            raise Wrong(f"{left} are left of something half-made")

    def _tidy(self, anew: bool) -> None:
        if anew or len(bpy.data.collections) > 40:
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            self._set()


def _have_room(limits: tuple[int, int]) -> None:
    """The disk is full no longer, also for a backend that was started meanwhile."""
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    process = session.state.current().runner._process
    if process is None or process._process is None or not hasattr(resource, "prlimit"):
        return
    for one in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if os.getsid(int(one.name)) == process._process.pid:
                resource.prlimit(int(one.name), resource.RLIMIT_FSIZE, limits)


def report(outcome: str, fault: Fault, words: str = "") -> None:
    """One line."""
    said = f"{outcome} {fault.number} {fault.kind} at {fault.at}, {fault.action} after {fault.ticks} {words}"
    sys.stdout.write(f"soak: {said.strip()}\n")
    sys.stdout.flush()


def main(seed: str, first: str, end: str, home: str, which: str, *recover: str) -> None:
    """Faults first to end - 1."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    soak = Soak(Path(home), which)
    soak.prepare()
    for number in range(int(first), int(end)):
        fault = fault_of(int(seed), number, which == "real")
        try:
            if recover and number == int(first):
                soak.recover(fault)
            else:
                soak.live_through(fault)
            report("well", fault)
        except Wrong as wrong:
            report("wrong", fault, str(wrong))
            sys.stderr.write("\n".join((f"fault {number}", *session.status().log, "")))
            session.cancel()
            session.stop_backend()
            session.pump_until_done(10)
    blender_trellis.unregister()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
