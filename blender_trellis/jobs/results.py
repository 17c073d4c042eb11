"""What the parts of an object must be when they enter Blender; numpy only, no bpy.

L voxels · V vertices · F faces · N Gaussians or boxes of the radiance field.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..protocol import (
    ARRAYS,
    BESIDES,
    Failed,
    FromBackend,
    ProtocolError,
    Result,
    ResultKind,
    Scalar,
)

TRY_AGAIN = "Try again; if it happens again, report it with the log."
FINEST = 256  # voxels a side: drawing them takes R³ of the main thread's time and memory
NOT_FINITE_CAUSE = ": the model's weights are damaged, or they need more precision (choose fp32)"


@dataclass(frozen=True)
class Part:
    """A checked part of an object: arrays by name, as the protocol's ARRAYS lists them for its kind."""

    kind: ResultKind
    info: Mapping[str, Scalar]
    arrays: Mapping[str, np.ndarray]
    job: str = ""


def checked(message: FromBackend) -> FromBackend:
    """A message as jobs take it: of a result its part, or what is wrong with it as the job's failure."""
    if not isinstance(message, Result):
        return message
    try:
        return check_result(message)  # type: ignore[return-value]
    except ProtocolError as error:
        return Failed(message.job, "protocol", f"{error} {TRY_AGAIN}")


def check_result(result: Result) -> Part:
    """The arrays of a result; ProtocolError that names the first fault in their names, shapes or values."""
    wanted = ARRAYS[result.kind]
    for besides in BESIDES.get(result.kind, ()):
        if besides.keys() & result.arrays.keys():
            wanted = {**wanted, **besides}
    if result.arrays.keys() != wanted.keys():
        raise _fault(result, f"holds {_listed(result.arrays)} instead of {_listed(wanted)}")
    lengths: dict[str, int] = {}
    arrays = {}
    for name, (dtype, shape) in wanted.items():
        array = result.arrays[name]
        if array.dtype != dtype or not _fits(array.shape, shape, lengths):
            asked = f"{dtype} ({', '.join(map(str, shape))})"
            found = f"{array.dtype} ({', '.join(map(str, array.shape))})"
            raise _fault(result, f"has {name} of {found} instead of {asked}")
        arrays[name] = np.frombuffer(array.data, f"<{dtype}").reshape(array.shape)
        if not np.isfinite(arrays[name]).all():
            raise _fault(result, f"has {name} with values that are not finite{NOT_FINITE_CAUSE}")
    _check_values(result, arrays)
    return Part(result.kind, result.info, arrays, result.job)


def _fits(found: tuple[int, ...], wanted: tuple[str | int, ...], lengths: dict[str, int]) -> bool:
    """Whether a shape is as wanted; a letter stands for one length, not 0, wherever it appears."""
    if wanted[-1] == "…":
        found, wanted = found[:1], wanted[:1]
    if len(found) != len(wanted):
        return False
    return all(
        length == (want if isinstance(want, int) else lengths.setdefault(want, length)) and length > 0
        for length, want in zip(found, wanted, strict=True)
    )


def _check_values(result: Result, arrays: Mapping[str, np.ndarray]) -> None:
    if result.kind in ("preview", "voxels", "structured_latent"):
        resolution = result.info.get("resolution")
        if not isinstance(resolution, int) or not 1 <= resolution <= FINEST:
            raise _fault(result, f"has the resolution {resolution}")
        _check_range(result, "coords", arrays["coords"], resolution)
        if result.kind != "structured_latent":
            _check_structure(result, len(arrays["occupied"]))
        elif "within" in arrays and len(arrays["within"]) != (resolution**3 + 7) // 8:
            raise _fault(result, f"has {len(arrays['within'])} bytes of a solid of resolution {resolution}")
    elif result.kind in ("mesh", "finished_mesh"):
        _check_range(result, "faces", arrays["faces"], len(arrays["vertices"]))
    elif result.kind == "gaussian":
        lengths = np.linalg.norm(arrays["rotation"], axis=1)
        if np.abs(lengths - 1).max() > 1e-2:
            raise _fault(result, "has rotations that are no unit quaternions")
    if "colors" in arrays and (arrays["colors"].min() < 0 or arrays["colors"].max() > 1):
        raise _fault(result, "has colors outside of 0 to 1")


def _check_structure(result: Result, size: int) -> None:
    finer = result.info.get("structure_resolution")
    if not isinstance(finer, int) or not 1 <= finer <= 4096 or size != (finer**3 + 7) // 8:
        raise _fault(result, f"has {size} bytes of a structure of resolution {finer}")


def _check_range(result: Result, name: str, values: np.ndarray, end: int) -> None:
    wrong = values[(values < 0) | (values >= end)]
    if wrong.size:
        raise _fault(result, f"has {name} with the index {wrong[0]}, outside of 0 to {end - 1}")


def _fault(result: Result, what: str) -> ProtocolError:
    return ProtocolError(f"The {result.kind} that the backend sent {what}.", job=result.job)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "nothing"
