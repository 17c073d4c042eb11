"""The U²-Net background remover (Qin et al. 2020): where its file lies, how it is fetched, how it is run.

Run through the rembg package with a model file on this machine; nothing is fetched unasked.
`python -m backend.background.u2net [FOLDER]` fetches the file.
"""

import functools
import hashlib
import http.client
import importlib.util
import logging
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from backend.checkpoints.find_model import models_folder
from backend.errors import MissingModel, UserError
from blender_trellis.batch.console import prepare_streams

log = logging.getLogger(__name__)

FILE_NAME = "u2net.onnx"
# The file that rembg itself uses, with its SHA-256 and its size.
URL = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx"
SHA256 = "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491"
SIZE = 175_997_641
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30


def find_u2net(model_file: Path | None = None) -> Path | None:
    """The model file: the one set (here or as TRELLIS_U2NET), else one in the usual places, else None.

    Raises MissingModel where a file was set that does not exist.
    """
    if model_file is None and os.environ.get("TRELLIS_U2NET"):
        model_file = Path(os.environ["TRELLIS_U2NET"]).expanduser()
    if model_file is None:
        return next((path for path in _usual_places() if path.is_file()), None)
    if not model_file.is_file():
        raise MissingModel(
            f"The background remover's file '{model_file}' does not exist; correct or empty the setting."
        )
    return model_file


def _usual_places() -> tuple[Path, ...]:
    """Our models folder, then where older and newer versions of rembg keep the file."""
    homes = [models_folder()]
    homes += [Path(os.environ[name]) for name in ("U2NET_HOME", "REMBG_HOME") if os.environ.get(name)]
    for data in (os.environ.get("XDG_DATA_HOME"), "~"):
        homes += [Path(data, ".u2net"), Path(data, "rembg"), Path(data, ".rembg")] if data else []
    return tuple(
        place.expanduser() / FILE_NAME for home in homes for place in (home, home / "models" / "u2net")
    )


def remove_with_u2net(image: Image.Image, model_file: Path) -> Image.Image:
    """RGB -> RGBA of the same size. Raises UserError where rembg is not installed or the file is damaged."""
    # rembg ends the whole process where it finds no onnxruntime.
    if not (importlib.util.find_spec("rembg") and importlib.util.find_spec("onnxruntime")):
        raise UserError(
            "Removing backgrounds needs the Python packages rembg and onnxruntime; install the backend again."
        )
    log.info("loading the background remover; its very first start compiles for about a minute")
    import rembg

    session = _session(model_file, model_file.stat().st_mtime_ns)
    return rembg.remove(image, session=session).convert("RGBA")


@functools.lru_cache(maxsize=1)
def _session(model_file: Path, _modified: int):
    """The loaded network; kept, because loading takes longer than one picture."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
    from rembg.sessions.u2net import U2netSession

    class LocalU2netSession(U2netSession):
        @classmethod
        def download_models(cls, *args, **kwargs) -> str:
            return str(model_file)

    try:
        return LocalU2netSession("u2net", onnxruntime.SessionOptions())
    except (onnx_errors.InvalidProtobuf, onnx_errors.InvalidGraph, onnx_errors.Fail) as error:
        raise UserError(
            f"The background remover's model '{model_file}' is damaged; delete it and download it again."
        ) from error


def download_u2net(
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
    url: str = URL,
    sha256: str = SHA256,
) -> Path:
    """Fetch the model file into `folder` (made where missing) and return its path.

    The file appears under its name only whole and with the right hash. `on_progress` gets (bytes so far,
    bytes in all). Raises UserError where there is no network, room or permission, or the file is another one.
    """
    final = folder / FILE_NAME
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer,
            tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file,
        ):
            part = Path(file.name)
            digest = _copy(answer, file, on_progress)
        if digest != sha256:
            raise UserError("The downloaded background remover is not the expected file; try again later.")
        os.replace(part, final)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise UserError(
            f"The background remover could not be downloaded ({error}); check the network, or fetch {url}"
            f" by hand and put it at '{final}'."
        ) from error
    except OSError as error:
        raise UserError(
            f"The background remover cannot be written to '{folder}' ({error.strerror});"
            " free some room or choose another folder."
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return final


def _copy(answer, file, on_progress: Callable[[int, int], None] | None) -> str:
    """Copy until the end or one byte too many; the SHA-256 of what came."""
    digest, done = hashlib.sha256(), 0
    while done <= SIZE and (chunk := answer.read(_CHUNK)):
        file.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        if on_progress:
            on_progress(done, SIZE)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """`python -m backend.background.u2net [FOLDER]`: download, say where the file lies; 0 or 2."""
    folder = Path(arguments[0]).expanduser() if arguments else models_folder()
    try:
        sys.stdout.write(f"{download_u2net(folder)}\n")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    prepare_streams()
    sys.exit(main(sys.argv[1:]))
