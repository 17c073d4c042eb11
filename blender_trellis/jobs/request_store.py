"""The message that an asset was asked for with, as bytes that are kept with it. No bpy here.

Pictures are left out, for they are kept as images, and so is the texture before an edit, for its size.
Nothing is kept where a mesh was encoded: it may be of any size, and its artist has it.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..faults import Fault
from ..protocol import Array, Generate, Making, ProtocolError, Reader, encode

MESH = ("vertices", "faces", "colors")


def pack_request(request: Making) -> bytes:
    """The request without pictures and textures; empty where it starts from a mesh."""
    if isinstance(request, Generate):
        bare: Making = replace(request, pictures=())
    elif any(name in request.arrays for name in MESH):
        return b""
    else:
        bare = replace(request, arrays=_without_pictures(request.arrays))
    return zlib.compress(b"".join(bytes(piece) for piece in encode(bare)))


def unpack_request(packed: bytes) -> Making:
    """The request that `pack_request` was given, without its pictures. Fault where it cannot be read."""
    try:
        request = Reader(io.BytesIO(zlib.decompress(packed))).read() if packed else None
    except (zlib.error, ProtocolError) as error:
        raise Fault(
            f"What this asset was asked for with cannot be read ({error}): generate it anew."
        ) from error
    if not isinstance(request, Making):
        raise Fault("What this asset was asked for with is not kept with it: generate it anew.")
    return request


def with_pictures(request: Making, files: Sequence[bytes]) -> Making:
    """The request with its picture files."""
    arrays = [Array("u1", (len(data),), data) for data in files]
    if isinstance(request, Generate):
        return replace(request, pictures=tuple(arrays))
    named = {f"picture_{number}": array for number, array in enumerate(arrays)}
    return replace(request, arrays={**request.arrays, **named})


def _without_pictures(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if not name.startswith(("picture_", "finished_"))}
