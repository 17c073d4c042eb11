"""An asset's mesh as a file of any kind: whole with all that belongs to it, or not there at all."""

import contextlib
import filecmp
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import bpy

from ...faults import Fault
from ..export import check_target, write_fault
from .kinds import KINDS


def write_asset(item: bpy.types.Object, path: Path, kind: str, images: str = "AUTO") -> list[Path]:
    """Saves an asset's mesh as it stands in the scene; the files' paths, the one that was asked for last.

    `images`: of IMAGES, for glTF. Raises Fault, also where a file beside it, such as its image, would replace
    another one: Blender asks about `path` alone. Where that is replaced, what lies beside it is as well.
    """
    check_target(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _pack_painted(_images(item))
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".trellis-") as folder:
            draft = Path(folder) / path.name
            beside = contextlib.nullcontext() if KINDS[kind].packed else _images_beside(item, draft)
            with _only_selected(item), beside:
                KINDS[kind].write(draft, images)
            if not draft.is_file():
                raise Fault(f'"{path}" was not written; the console says why.')
            made = [file for file in Path(folder).rglob("*") if file.is_file()]
            targets = [path.parent / file.relative_to(folder) for file in made]
            for file, target in zip(made, targets, strict=True):
                check_target(target)
                if not path.exists() and target.exists() and not filecmp.cmp(file, target, shallow=False):
                    raise Fault(
                        f'"{target}" is there already and would be replaced: choose another name or folder.'
                    )
            for file, target in sorted(zip(made, targets, strict=True), key=lambda pair: pair[0] == draft):
                target.parent.mkdir(exist_ok=True)
                os.replace(file, target)
    except (OSError, RuntimeError) as error:  # Blender's operators raise RuntimeError for all their errors
        raise write_fault(path, error) from error
    return sorted(targets, key=lambda target: target == path)


@contextlib.contextmanager
def _only_selected(item: bpy.types.Object) -> Iterator[None]:
    """Exporters write what is selected; afterwards the selection is as it was."""
    layer = bpy.context.view_layer
    unseen = f'"{item.name}" cannot be selected in this view layer: show its collection first.'
    layer.update()  # it may not know yet which collections are excluded
    if item not in list(layer.objects):
        raise Fault(unseen)
    selected, active = list(layer.objects.selected), layer.objects.active
    hidden = item.hide_viewport, item.hide_get(), item.hide_select
    item.hide_viewport = item.hide_select = False
    item.hide_set(False)
    layer.update()
    for other in selected:
        other.select_set(False)
    item.select_set(True)
    layer.objects.active = item
    try:
        if not item.select_get():
            raise Fault(unseen)
        yield
    finally:
        item.select_set(False)
        item.hide_set(hidden[1])
        item.hide_viewport, _, item.hide_select = hidden
        for other in selected:
            other.select_set(True)
        layer.objects.active = active


def _pack_painted(images: Sequence[bpy.types.Image]) -> None:
    """Packs what was painted or computed and is in no file: exporters take packed bytes or files alone."""
    for image in images:
        is_only_here = image.packed_file is not None or image.source == "GENERATED"
        if is_only_here and image.is_dirty and image.library is None:
            image.pack()


@contextlib.contextmanager
def _images_beside(item: bpy.types.Object, path: Path) -> Iterator[None]:
    """Puts images beside the file for exporters that look for files alone; packed ones stay packed."""
    before = [(image, image.filepath_raw) for image in _images(item)]
    try:
        for number, (image, _) in enumerate(before):
            packed = image.packed_file
            stored = Path(bpy.path.abspath(image.filepath_raw, library=image.library))
            if packed is None and not stored.is_file():
                continue
            suffix = ".png" if packed is not None else stored.suffix
            target = path.with_name(f"{path.stem}{number or ''}{suffix}")
            target.write_bytes(stored.read_bytes() if packed is None else packed.data)
            image.filepath_raw = str(target)
        yield
    finally:
        for image, old in before:
            image.filepath_raw = old


def _images(item: bpy.types.Object) -> list[bpy.types.Image]:
    """The images of an object's materials, each once; Blender packs what was painted or computed as PNG."""
    materials = [slot.material for slot in item.material_slots if slot.material is not None]
    trees = [material.node_tree for material in materials if material.node_tree]
    images = [node.image for tree in trees for node in tree.nodes if node.type == "TEX_IMAGE" and node.image]
    return list(dict.fromkeys(images))
