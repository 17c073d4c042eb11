"""What one job made, ready to be put into a scene or into files. No bpy here."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StoredLatents:
    """What a model's decoders made an asset of, and what every edit of it starts from.

    `arrays`: structure_latent f4 (C, r, r, r); occupied u1, the bits of (R, R, R) in numpy.packbits' order, R
    being `structure_resolution`; coords i4 (L, 3) within `resolution` and feats f4 (L, C), in the same order.
    """

    arrays: Arrays
    resolution: int
    structure_resolution: int
    model: str
    model_hash: str


@dataclass(frozen=True)
class Change:
    """What kind of edit made an asset, as the protocol's Edit has it, and the fingerprint of the latents that
    it started from."""

    mode: str
    base: str


def fingerprint(arrays: Arrays) -> str:
    """A hash of an asset's latents."""
    digest = hashlib.sha256()
    for name in ("coords", "feats", "occupied", "structure_latent"):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Asset:
    """`mesh`: vertices (V, 3), faces (F, 3), colors (V, 3) sRGB. `gaussian`: position, f_dc, scale (log) each
    (N, 3), opacity (N, 1) (logit), rotation (N, 4) w, x, y, z. Both Z up, front -Y, in the unit cube.

    `finished`: the mesh made ready to be used, where that was asked for: the same arrays, and of a texture uv
    (F, 3, 2) and texture u1 (S, S, 3). `mesh` is then the raw one, which edits start from.

    Mesh and Gaussians may have keys i4 (V,) or (N,), the unique name of each vertex or splat, and, of an
    edit, kept u1: 1 where the one of that key is as it was before.
    """

    name: str
    mesh: Arrays | None = None
    gaussian: Arrays | None = None
    properties: Mapping[str, str | int] = field(default_factory=dict)  # where it came from
    latents: StoredLatents | None = None
    change: Change | None = None  # of an edit's result
    pictures: tuple[tuple[str, bytes], ...] = ()  # name and file of each picture that it was made from
    request: bytes = (
        b""  # the message that it was asked for with, without pictures; see jobs/request_store.py
    )
    frame: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """Scale and offset that take the unit cube into the frame of a mesh that was sent to be encoded."""
    finished: Arrays | None = None
    surface: tuple[float, float] = (1.0, 0.0)  # roughness and metallic of the finished mesh
    finish_report: str = ""  # what finishing did, a line for each step
    texture: bytes = b""  # a PNG file of the finished mesh's texture
