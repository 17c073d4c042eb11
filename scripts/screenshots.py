"""Pictures of the add-on at work in a Blender with a window, for README and docs.

    python scripts/screenshots.py --blender BLENDER [--grab COMMAND] [--output docs/screens] [--only NAME …]

BLENDER is a command line, with what stands before Blender on a machine without a screen (such as xvfb-run).
Blender's own screenshots are black there, and COMMAND takes them: "import -window root" of ImageMagick. The
bundled starter makes what is shown, in the checkout's .venv (or TRELLIS_PYTHON). Every picture begins with
factory settings and an empty home.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 420  # for one scene, on two cores
WIDTH = 1280


def main() -> int:
    """Makes the pictures; 1 where one could not be made."""
    wanted = argparse.ArgumentParser(
        prog="screenshots.py", description="Take pictures of the add-on at work."
    )
    wanted.add_argument(
        "--blender", required=True, metavar="COMMAND", help="how to start a Blender with a window"
    )
    wanted.add_argument(
        "--grab", default="", metavar="COMMAND", help="what takes a picture into the file named last"
    )
    wanted.add_argument("--output", type=Path, default=ROOT / "docs" / "screens", metavar="FOLDER")
    wanted.add_argument("--only", nargs="+", choices=tuple(SCENES), default=list(SCENES), metavar="NAME")
    options = wanted.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    failed = [name for name in options.only if not _taken(options, name)]
    if failed:
        sys.stderr.write(f"Not made: {', '.join(failed)}. Blender's own words are above.\n")
    return 1 if failed else 0


def _taken(options: argparse.Namespace, name: str) -> bool:
    """Runs one scene in a Blender of its own."""
    target = options.output.resolve() / f"{name}.jpg"
    target.unlink(missing_ok=True)
    window = ("--factory-startup", "-p", "0", "0", str(WIDTH), "800", "--python", __file__)
    python = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    environment = {"TRELLIS_PYTHON": str(python), "SECONDS_ALLOWED": str(SECONDS)} | dict(os.environ)
    with tempfile.TemporaryDirectory() as user:
        environment |= {"BLENDER_USER_RESOURCES": user, "HOME": user}
        command = [*shlex.split(options.blender), *window, "--", name, str(target), options.grab]
        subprocess.run(command, env=environment, check=False, timeout=SECONDS + 60)
    return target.exists()


def at_rest() -> Iterator[float]:
    """The panel before anything was made."""
    yield from _settled("chair.png")
    _shoot()


def running() -> Iterator[float]:
    """The voxels of the object while it is made, and the bar."""
    yield from _settled("chair.png")
    bpy.ops.trellis.generate("INVOKE_DEFAULT")
    yield from _until(lambda: _session().growing() is not None and _session().status().fraction > 0.3)
    yield 0.5
    _shoot()


def done() -> Iterator[float]:
    """The finished object, textured, with its collection."""
    yield from _settled("mushroom.png")
    yield from _made()
    _shoot()


def candidates() -> Iterator[float]:
    """Four shapes to choose from, two of them picked."""
    yield from _settled("chair.png")
    bpy.ops.trellis.make_candidates("INVOKE_DEFAULT")
    yield from _until(lambda: len(_session().candidates()) == 4 and not _session().status().job)
    for one in (_session().candidates()[0], _session().candidates()[2]):
        _session().pick(one.id)
    yield 2.0
    _shoot()


def failed() -> Iterator[float]:
    """A backend that was killed: one sentence, and what can be done about it."""
    yield from _settled("chair.png")
    bpy.ops.trellis.generate("INVOKE_DEFAULT")
    yield from _until(lambda: _session().status().fraction > 0.2)
    for thread in Path("/proc/self/task").iterdir():
        for child in (thread / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    yield from _until(lambda: bool(_session().status().fault))
    yield 1.0
    _shoot()


def region() -> Iterator[float]:
    """A box around a part of a finished object, with the voxels that it takes."""
    yield from _settled("chair.png")
    yield from _made()
    with _sidebar():
        bpy.ops.trellis.add_region("INVOKE_DEFAULT")
    yield 2.0
    box = bpy.context.view_layer.objects.active
    box.scale.z *= 0.45
    box.location.z += 0.25 * box.dimensions.z
    yield 2.0
    _shoot()


SCENES: dict[str, Callable[[], Iterator[float]]] = {
    "rest": at_rest,
    "running": running,
    "done": done,
    "candidates": candidates,
    "failed": failed,
    "region": region,
}


def _session():
    from blender_trellis.jobs import session

    return session


def _settled(picture: str) -> Iterator[float]:
    """The add-on's tab with a picture chosen, in a scene without the cube."""
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    chosen = shutil.copy(ROOT / "docs" / "pictures" / picture, Path.home())
    bpy.context.scene.trellis.picture = str(chosen)
    with _sidebar() as area:
        area.spaces.active.show_region_ui = True
    yield 1.0
    with _sidebar():
        bpy.context.region.active_panel_category = "TRELLIS"
    yield 2.0


def _made() -> Iterator[float]:
    bpy.ops.trellis.generate("INVOKE_DEFAULT")
    yield 1.0
    yield from _until(lambda: not _session().status().job and len(bpy.data.meshes) > 1)
    yield 3.0


class _sidebar:
    """What a button in the 3D view's sidebar sees."""

    def __enter__(self):
        window = bpy.context.window_manager.windows[0]
        area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
        region = next(region for region in area.regions if region.type == "UI")
        self._override = bpy.context.temp_override(window=window, area=area, region=region)
        self._override.__enter__()
        return area

    def __exit__(self, *fault):
        self._override.__exit__(*fault)


def _until(ready: Callable[[], bool]) -> Iterator[float]:
    ends = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > ends:
            raise TimeoutError("what the picture shows did not come about")
        yield 0.1


def _shoot() -> None:
    """The window as a JPEG."""
    *_, target, grab = sys.argv
    if grab:
        subprocess.run([*shlex.split(grab), target], check=True, timeout=60)
        return
    raw = Path(target).with_suffix(".png")
    with _sidebar():
        bpy.ops.screen.screenshot(filepath=str(raw))
    picture = bpy.data.images.load(str(raw))
    picture.file_format = "JPEG"
    picture.save(filepath=target, quality=88)
    raw.unlink()


def _play(scene: Iterator[float]) -> None:
    """Goes through a scene in turns of Blender's own loop, then ends Blender."""

    def turn() -> float | None:
        try:
            return next(scene)
        except StopIteration:
            pass
        except Exception:  # noqa: BLE001 (Blender must end, and say why)
            traceback.print_exc()
        _session().end()
        os._exit(0)

    bpy.app.timers.register(turn, first_interval=3.0, persistent=True)


if __name__ == "__main__" and "bpy" not in sys.modules:
    sys.exit(main())

import bpy  # noqa: E402 (only within Blender)

sys.path.insert(0, str(ROOT))
import blender_trellis  # noqa: E402

blender_trellis.register()
bpy.context.preferences.view.show_splash = False
bpy.context.preferences.system.viewport_aa = "OFF"
_play(SCENES[sys.argv[-3]]())
