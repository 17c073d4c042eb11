"""Writes an asset's files so that a final name never holds half a file."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bpy

from ..faults import Fault
from ..protocol.fields import is_text
from ..splats.files import TO_FILE
from ..splats.ply import write_ply
from ..splats.values import Splats
from .asset import Asset
from .display.colors import use_colors
from .display.shading import BRIGHT_SINCE, show_in_solid, suit_preview_light
from .files.kinds import IMAGES
from .files.kinds import KINDS as FILES
from .find_asset import objects_in
from .gaussians.object import is_gaussian
from .preview import render_preview

KINDS = ("blend", "glb", "ply", "preview")
LATENTS = ".latents.safetensors"
FULL_BELOW = 1 << 20
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.\w+@?")
"""The names that `atomic` writes to."""


def prepare_folder(folder: Path) -> None:
    """Makes the folder and proves that files can be written there. Fault where not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".trellis-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
    except OSError as error:
        raise write_fault(folder, error) from error


def remove_leftovers(folder: Path) -> None:
    """Takes away what a kill has left of files that were being written."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def check_targets(base: Path, kinds: tuple[str, ...], preview_name: str = "") -> None:
    """Fault where a file that would be written has the name of something that is no file."""
    for path in (target(base, kind, preview_name) for kind in kinds):
        check_target(path)


def check_target(path: Path) -> None:
    """Fault where no file can get this name, because it is a folder's or a device's, or too long."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_fault(path, error) from error
    if not stat.S_ISREG(mode):
        raise Fault(f'"{path}" is not an ordinary file: choose another output folder, or move it away.')


def export_asset(
    asset: Asset,
    collection: bpy.types.Collection,
    base: Path,
    kinds: tuple[str, ...],
    preview_name: str = "",
    encoding: str = "png",
) -> list[Path]:
    """Writes `base`.glb, .ply, .png (the preview) and .blend, as far as asked for and as the asset has them;
    in the .glb the texture is stored as png, jpeg or webp.

    `collection` is the asset in the current scene. Raises Fault; what had been written before it stays.
    """
    written: list[Path] = []
    if "glb" in kinds and asset.mesh is not None:
        with atomic(target(base, "glb"), written) as path:
            _write_glb(collection, path, encoding)
    if "ply" in kinds and asset.gaussian is not None:
        with atomic(target(base, "ply"), written) as path:
            write_ply(path, Splats.plain(asset.gaussian).moved(TO_FILE))
    if "preview" in kinds:
        with atomic(target(base, "preview", preview_name), written) as path:
            render_preview(collection, path, picture=asset.pictures[0][1] if asset.pictures else b"")
    if "blend" in kinds:
        _set_up_views()
        with atomic(target(base, "blend"), written) as path:
            bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True, check_existing=False)
    return written


def _set_up_views() -> None:
    """For whoever opens the file: colours as they are, of splats too, which may go into other scenes."""
    use_colors(bpy.context.scene, "STANDARD")
    suit_preview_light(BRIGHT_SINCE)  # in an older Blender it is darker, and of no other colour
    for screen in bpy.data.screens:
        show_in_solid(screen, bpy.context.view_layer)


def target(base: Path, kind: str, preview_name: str = "") -> Path:
    """Where `export_asset` writes a kind of file, or latents are written."""
    if kind == "preview":
        return base.with_name(preview_name or f"{base.name}_preview.png")
    return base.with_name(base.name + (LATENTS if kind == "latents" else f".{kind}"))


@contextlib.contextmanager
def atomic(final: Path, written: list[Path] | None = None) -> Iterator[Path]:
    """Gives another name to write to; the file gets its final name only if nothing went wrong.

    The name that is given is plain text whatever `final` is, because Blender's operators take nothing else.
    """
    part = final.with_name(f".{secrets.token_hex(8)}{final.suffix}")
    with contextlib.ExitStack() as stack:
        own = part
        if not is_text(str(part)):  # the folder's name: then through one whose name is text
            own = Path(stack.enter_context(tempfile.TemporaryDirectory())) / part.name
        try:
            yield own
            if not own.exists():
                raise Fault(f'"{final}" was not written; the console says why.')
            if own != part:
                shutil.copyfile(own, part)
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, final)
        except (
            OSError,
            RuntimeError,
        ) as error:  # Blender's operators raise RuntimeError for all their errors
            raise write_fault(final, error) from error
        finally:
            # Blender writes a .blend under name@ first.
            for leftover in (part, part.with_name(part.name + "@")):
                leftover.unlink(missing_ok=True)
    if written is not None:
        written.append(final)


def _write_glb(collection: bpy.types.Collection, path: Path, encoding: str) -> None:
    for item in objects_in(bpy.context.view_layer):
        # Without the Empty, which would be one more node: the exporter keeps where the mesh stands.
        item.select_set(item.name in collection.objects and item.type == "MESH" and not is_gaussian(item))
    images = next(name for name, label in IMAGES.items() if label.lower() == encoding)
    FILES["GLB"].write(path, images)
    for item in collection.objects:
        item.select_set(True)


def write_fault(path: Path, error: OSError | RuntimeError) -> Fault:
    """Why a file could not be written, and what to do."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or _is_full(path):
        return Fault(f'There is no space left to write "{path}": free some space or choose another folder.')
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Fault(f'"{path}" may not be written: choose another folder or change its permissions.')
    reason = getattr(error, "strerror", None) or operator_reason(error)
    return Fault(f'"{path}" cannot be written ({reason}): choose another folder.')


def operator_reason(error: BaseException) -> str:
    """Why an operator of Blender failed, without the line "Location: …", which says where it was called."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line.removeprefix("Error: ") for line in lines if line and not line.startswith("Location: ")]
    if any("Traceback (most recent call last)" in line for line in told):
        told = told[-1:]
    return "; ".join(told).rstrip(".") or "Blender gives no reason"


def _is_full(path: Path) -> bool:
    folder = next((parent for parent in (path, *path.parents) if os.path.isdir(parent)), None)
    if folder is None:
        return False
    usage = shutil.disk_usage(folder)
    return usage.total > 0 and usage.free < FULL_BELOW  # /proc and its like have no size at all
