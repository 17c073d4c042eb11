"""The engines that can convolve voxels and attend within windows: torch itself, compiled, or CUDA libraries.

A network asks its engine for tables once per structure, and the tables do the work. "cuda" is never chosen by
itself: on cards newer than the libraries their kernels may be wrong without a word, so the person turns it on
after `python -m backend selftest --engine cuda` has passed.
"""

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backend.errors import UserError
from backend.layers.neighbours import find_neighbours
from backend.layers.sparse_conv import ConvolutionTable
from backend.layers.window_attention import AttentionTable, cut_into_windows

log = logging.getLogger(__name__)

ENGINES = ("torch", "compile", "cuda")
COMPILERS = ("c++", "g++", "clang++", "cl")


@dataclass(frozen=True)
class Engine:
    """Makers of tables: `neighbours(coords (L, 3))` · `windows(coords (L, 3), window_size, shift)`.

    `compiles`: the blocks of the flows, which run in every step, go through torch.compile.
    """

    name: str
    neighbours: Callable[[Tensor], ConvolutionTable] = find_neighbours
    windows: Callable[[Tensor, int, int], AttentionTable] = cut_into_windows
    compiles: bool = False


TORCH = Engine("torch")


def choose_engine(name: str, device: torch.device) -> Engine:
    """ "torch", "compile", or "cuda": spconv and xformers, whichever is installed.

    UserError where it cannot run.
    """
    if name == "torch":
        return TORCH
    if name == "compile":
        return _compiling(device)
    if name not in ENGINES:
        raise UserError(f"There is no engine {name}: choose {', '.join(ENGINES[:-1])} or {ENGINES[-1]}.")
    if device.type != "cuda":
        raise UserError(f"The engine cuda needs an NVIDIA card, not {device}: choose the engine torch.")
    tables = {
        "neighbours": _table("backend.layers.spconv_engine", "SpconvTable"),
        "windows": _table("backend.layers.xformers_engine", "PackedWindows"),
    }
    found = {field: table for field, table in tables.items() if table is not None}
    if not found:
        raise UserError(
            "The engine cuda needs the package spconv-cu124 or xformers, and neither can be imported:"
            " install backend/requirements/cuda.txt or choose the engine torch."
        )
    log.info("The engine cuda uses %s.", ", ".join(table.__module__ for table in found.values()))
    return Engine("cuda", **found)


def _compiling(device: torch.device) -> Engine:
    """torch.compile writes C++ for a processor and Triton for a card: each needs its compiler."""
    missing = ""
    if device.type == "cuda":
        missing = "" if importlib.util.find_spec("triton") else "the package triton"
    elif not any(map(shutil.which, (os.environ.get("CXX") or COMPILERS[0], *COMPILERS))):
        missing = "a C++ compiler"
    if missing:
        raise UserError(
            f"The engine compile needs {missing}, which is not found: install it or choose the engine torch."
        )
    return Engine("compile", compiles=True)


def _table(module: str, name: str) -> Any:
    """A class of tables, None where the library behind it is missing or does not fit."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, OSError) as error:
        log.warning("%s cannot be used: %s", module, error)
        return None
