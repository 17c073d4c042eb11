"""A radiance field as an OpenVDB file, by the module that comes with Blender."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import bpy
import numpy as np

from ...faults import Fault
from ...srgb import linear_from_srgb
from ...volumes.field import Field

DENSITY, COLOR = "density", "color"
_SOURCE = "trellis_field"
LEAST = 1e-4
"""Optical depth across a sample below which it is left out."""


def write_vdb(path: Path, field: Field, source: str) -> None:
    """Grids of density, per unit of the unit cube, and linear colour; a sample a voxel. Raises Fault.

    source: the name of the field's file, by which `source_of` tells that the file is its.
    """
    vdb = openvdb()
    density, color = vdb.FloatGrid(0.0), vdb.Vec3SGrid((0.0, 0.0, 0.0))
    density.name, color.name = DENSITY, COLOR
    density.gridClass = vdb.GridClass.FOG_VOLUME
    size = 1 / (field.resolution * field.samples)
    for grid in (density, color):
        # The middle of the first voxel lies half of its size within the cube's corner.
        grid.transform = vdb.createLinearTransform(voxelSize=size)
        grid.transform.postTranslate((size / 2 - 0.5,) * 3)
    for box in range(len(field.coords)):
        amount, shade = field.sampled(box)
        if amount.max() * size < LEAST:
            continue
        corner = tuple(int(place) * field.samples for place in field.coords[box])
        density.copyFromArray(np.ascontiguousarray(amount, np.float32), ijk=corner)
        linear = np.ascontiguousarray(linear_from_srgb(shade), np.float32)
        color.copyFromArray(linear, ijk=corner)
    vdb.write(str(path), grids=[density, color], metadata={_SOURCE: source})


def source_of(path: Path) -> str:
    """The name of the field's file that a file was written for; empty for every other file."""
    try:
        return str(openvdb().readMetadata(str(path)).get(_SOURCE, ""))
    except (OSError, RuntimeError, ValueError, LookupError):  # no OpenVDB file
        return ""


def openvdb() -> ModuleType:
    """The module, which Blender's own builds hold: under this name since 4.4. Fault where it is not there."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    inside = Path(bpy.utils.system_resource("PYTHON") or ".") / "lib" / version / "site-packages"
    if inside.is_dir() and str(inside) not in sys.path:
        sys.path.append(str(inside))  # Blender as a Python module does not look there by itself
    for name in ("openvdb", "pyopenvdb"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Fault(
        "This Blender was built without OpenVDB for Python, so it cannot show radiance fields: use a Blender "
        "from blender.org, or import the asset's mesh or Gaussians."
    )
