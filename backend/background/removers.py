"""Networks that remove any background, run through the rembg package with a file on this machine.

U²-Net (Qin et al. 2020), IS-Net (Qin et al. 2022) and BiRefNet (Zheng et al. 2024). Nothing is fetched here:
`python -m backend models download u2net` does that.
"""

import functools
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from backend.checkpoints.find_model import models_folder
from backend.errors import MissingModel, UserError

FILE_NAME = "u2net.onnx"
SESSIONS = {
    "birefnet-general-lite.onnx": ("birefnet_general_lite", "BiRefNetSessionGeneralLite"),
    "isnet-general-use.onnx": ("dis_general_use", "DisSession"),
    FILE_NAME: ("u2net", "U2netSession"),
}
"""The file of each network, the finest first, and rembg's module and class that run it."""


def find_remover(model_file: Path | None = None) -> Path | None:
    """The model file: the one set (here or as TRELLIS_U2NET), else one in the usual places, else None.

    A file of another name than those of SESSIONS is taken for U²-Net.

    Raises MissingModel where a file was set that does not exist.
    """
    if model_file is None and os.environ.get("TRELLIS_U2NET"):
        model_file = Path(os.path.expanduser(os.environ["TRELLIS_U2NET"]))
    if model_file is None:
        return next((path for path in _usual_places() if path.is_file()), None)
    if not model_file.is_file():
        raise MissingModel(
            f"The background remover's file '{model_file}' does not exist; correct or empty the setting."
        )
    return model_file


def _usual_places() -> tuple[Path, ...]:
    """The files in our models folder, then U²-Net where older and newer versions of rembg keep it."""
    ours = tuple(models_folder() / name for name in SESSIONS)
    homes = [models_folder()]
    homes += [Path(os.environ[name]) for name in ("U2NET_HOME", "REMBG_HOME") if os.environ.get(name)]
    for data in (os.environ.get("XDG_DATA_HOME"), "~"):
        homes += [Path(data, ".u2net"), Path(data, "rembg"), Path(data, ".rembg")] if data else []
    known = [Path(os.path.expanduser(home)) for home in homes]
    return ours + tuple(place / FILE_NAME for home in known for place in (home, home / "models" / "u2net"))


def remove_with(image: Image.Image, model_file: Path) -> Image.Image:
    """RGB -> RGBA of the same size. Raises UserError where rembg is not installed or the file is damaged."""
    # rembg ends the whole process where it finds no onnxruntime.
    if not (importlib.util.find_spec("rembg") and importlib.util.find_spec("onnxruntime")):
        raise UserError(
            "Removing backgrounds needs the Python packages rembg and onnxruntime; install the backend again."
        )
    rembg = _import_rembg()
    session = _session(model_file, model_file.stat().st_mtime_ns)
    return rembg.remove(image, session=session).convert("RGBA")


def _import_rembg() -> ModuleType:
    """rembg, without a minute in which its alpha matting is compiled, which nobody here asks for.

    A job may run meanwhile: its loops, all of which are defined before any job begins, are compiled after it.
    """
    with importlib.import_module("numba.core.compiler_lock").global_compiler_lock:
        if "rembg" in sys.modules:
            return sys.modules["rembg"]
        config: Any = importlib.import_module("numba.core.config")  # its settings are made at import
        before, config.DISABLE_JIT = config.DISABLE_JIT, 1
        try:
            return importlib.import_module("rembg")
        finally:
            config.DISABLE_JIT = before


@functools.lru_cache(maxsize=1)
def _session(model_file: Path, _modified: int):
    """The loaded network; kept, because loading takes longer than one picture."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

    module, name = SESSIONS.get(model_file.name, SESSIONS[FILE_NAME])
    published = getattr(importlib.import_module(f"rembg.sessions.{module}"), name)

    local = type(name, (published,), {"download_models": classmethod(lambda cls, *_, **__: str(model_file))})
    try:
        return local(published.name(), onnxruntime.SessionOptions())
    except (onnx_errors.InvalidProtobuf, onnx_errors.InvalidGraph, onnx_errors.Fail) as error:
        raise UserError(
            f"The background remover's model '{model_file}' is damaged; delete it and download it again."
        ) from error
