"""Structures to choose from: what one is, and the requests that make it and go on from it. No bpy here."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..protocol import Complete, Finished, Generate, Sampled
from .job import Job
from .placement import Placement
from .sent_arrays import sent, sent_pictures

MOST = 8


@dataclass(frozen=True)
class Candidate:
    """One structure, and the finished job that made it. `number` is what people see."""

    job: Job
    number: int
    request: Generate
    placement: Placement
    coords: np.ndarray  # (L, 3) int32, of the voxels
    resolution: int
    latent: np.ndarray  # (C, r, r, r) float32
    model_hash: str
    picked: bool = False

    @property
    def id(self) -> str:
        """That of its job."""
        return self.job.id

    def filled(self) -> np.ndarray:
        """The voxels (R, R, R) bool."""
        grid = np.zeros((self.resolution,) * 3, bool)
        grid[tuple(self.coords.T)] = True
        return grid

    def outline(self) -> np.ndarray:
        """The lowest and the highest corner (2, 3) of the voxels in the asset's frame."""
        ends = np.stack([self.coords.min(axis=0), self.coords.max(axis=0) + 1])
        return ends / self.resolution - 0.5


def of_seeds(request: Generate, count: int, seeds_end: int) -> tuple[Generate, ...]:
    """The same for this many seeds in turn, which stay below `seeds_end`."""
    return tuple(replace(request, seed=(request.seed + number) % seeds_end) for number in range(count))


def candidate_of(job: Job, placement: Placement) -> Candidate:
    """What a job made that ended with the structure."""
    voxels, structure = job.part("voxels"), job.part("structure_latent")
    assert isinstance(job.request, Generate) and isinstance(job.summary, Finished)
    assert voxels is not None and structure is not None, "the backend ends no such job without them"
    return Candidate(
        job,
        placement.candidate,
        job.request,
        placement,
        voxels.arrays["coords"],
        int(voxels.info["resolution"]),
        structure.arrays["latent"],
        job.summary.model_hash,
    )


def complete(candidate: Candidate) -> Complete:
    """The request that makes the rest of a candidate."""
    request = candidate.request
    pictures = sent_pictures(bytes(one.data) for one in request.pictures)
    arrays = sent({"structure_latent": candidate.latent}) | pictures
    return Complete(**_shared(request), arrays=arrays, model_hash=candidate.model_hash)


def as_generate(request: Complete) -> Generate:
    """The request that makes the same from nothing."""
    return Generate(**_shared(request), pictures=request.pictures)


def _shared(request: Sampled) -> dict[str, Any]:
    return {one.name: getattr(request, one.name) for one in fields(Sampled)}
