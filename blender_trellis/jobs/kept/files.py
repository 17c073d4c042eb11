"""One session's jobs in a folder: queue.json says which in what order, ID.request and ID.result hold frames
of the protocol. No bpy here.

A file is written beside its place and then moved there, so that it is whole or not there.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...protocol import Buffer, Finished, Making, Message, ProtocolError, Reader, Result, encode
from ...protocol.fields import from_json, to_json
from ..job import Job, apply, new_job
from ..placement import Placement
from ..sent_arrays import sent

log = logging.getLogger(__name__)

ORDER = "queue.json"


@dataclass(frozen=True)
class KeptJob:
    """A job as queue.json lists it. `finished`: its result waits to be placed."""

    id: str
    placement: Placement
    finished: bool = False


@dataclass(frozen=True)
class _Order:
    jobs: tuple[KeptJob, ...] = ()


def write_order(folder: Path, jobs: tuple[KeptJob, ...]) -> None:
    """Says which jobs there are. OSError where it cannot be written."""
    _write(folder / ORDER, [json.dumps(to_json(_Order(jobs)), indent=1).encode()])


def write_request(folder: Path, job: Job) -> None:
    """Keeps what a job was asked for. OSError where it cannot be written."""
    _write(folder / f"{job.id}.request", encode(job.request))


def write_result(folder: Path, job: Job) -> None:
    """Keeps what a finished job made. OSError where it cannot be written."""
    assert isinstance(job.summary, Finished)
    messages: list[Message] = [Result(job.id, part.kind, part.info, sent(part.arrays)) for part in job.parts]
    messages.append(job.summary)
    _write(folder / f"{job.id}.result", (piece for one in messages for piece in encode(one)))


def read_order(folder: Path) -> tuple[KeptJob, ...] | None:
    """The jobs of a folder; None where they cannot be told, as those of a later version."""
    try:
        content = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        return from_json(_Order, content, ORDER).jobs
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError, ProtocolError) as error:
        log.warning("%s cannot be used: %s", folder / ORDER, error)
        return None


def read_job(folder: Path, kept: KeptJob) -> Job | None:
    """A job as it was, finished where its result is there; None where its request cannot be read."""
    requests = _read(folder / f"{kept.id}.request")
    if len(requests) != 1 or not isinstance(requests[0], Making):
        return None
    job = new_job(requests[0])
    done = job
    for message in _read(folder / f"{kept.id}.result") if kept.finished else ():
        if isinstance(message, Result | Finished):
            done = apply(done, message)
    return done if done.state == "finished" else job


def _read(path: Path) -> list[Message]:
    messages = []
    try:
        with open(path, "rb") as file:
            reader = Reader(file)
            while (message := reader.read()) is not None:
                messages.append(message)
    except (OSError, ProtocolError) as error:
        log.warning("%s cannot be used: %s", path, error)
        return []
    return messages


def _write(path: Path, pieces: Iterable[Buffer]) -> None:
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as file:
        for piece in pieces:
            file.write(piece)
    part.replace(path)
