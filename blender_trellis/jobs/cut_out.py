"""A cut-out that the backend was asked for beside its jobs. Messages in, new values out; no bpy here."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np

from ..protocol import Cancelled, Failed, Finished, FromBackend
from .results import Part


@dataclass(frozen=True)
class Asked:
    """What was asked and what has come of it."""

    job: str
    key: Hashable  # of whoever asked
    pixels: np.ndarray | None = field(default=None, compare=False)  # (S, S, 3) uint8, sRGB, first row on top
    fault: str = ""
    ended: bool = False


def answered(asked: Asked | None, message: FromBackend | Part) -> Asked | None:
    """After a message of the backend; others than its own change nothing."""
    if asked is None or asked.ended or getattr(message, "job", None) != asked.job:
        return asked
    match message:
        case Part():
            return replace(asked, pixels=message.arrays["pixels"])
        case Failed():
            return replace(asked, fault=message.message.partition("\n")[0], ended=True)
        case Finished() | Cancelled():
            return replace(asked, ended=True)
    return asked
