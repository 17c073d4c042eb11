"""One session's jobs in a folder: queue.json says which in what order, ID.request and ID.result hold frames
of the protocol. No bpy here.

A file is written beside its place and then moved there, so that it is whole or not there.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
class Order:
    """What queue.json lists. others: what of it cannot be read, as it stands there."""

    jobs: tuple[KeptJob, ...] = ()
    others: tuple[Any, ...] = ()


def write_order(folder: Path, order: Order) -> None:
    """Says which jobs there are. OSError where it cannot be written."""
    rows = [*map(to_json, order.jobs), *order.others]
    _write(folder / ORDER, [json.dumps({"jobs": rows}, indent=1).encode()])


def write_request(folder: Path, job: Job) -> None:
    """Keeps what a job was asked for. OSError where it cannot be written."""
    _write(folder / f"{job.id}.request", encode(job.request))


def write_result(folder: Path, job: Job) -> None:
    """Keeps what a finished job made. OSError where it cannot be written."""
    assert isinstance(job.summary, Finished)
    messages: list[Message] = [Result(job.id, part.kind, part.info, sent(part.arrays)) for part in job.parts]
    messages.append(job.summary)
    _write(folder / f"{job.id}.result", (piece for one in messages for piece in encode(one)))


def read_order(folder: Path) -> Order | None:
    """The jobs of a folder; None where none can be told, as those of a later version."""
    try:
        content = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        rows = content["jobs"] if isinstance(content, dict) and content.keys() == {"jobs"} else None
        if not isinstance(rows, list):
            raise ValueError("it lists no jobs")
    except FileNotFoundError:
        return Order()
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be used: %s", folder / ORDER, error)
        return None
    jobs, others = [], []
    for place, row in enumerate(rows):
        try:
            jobs.append(from_json(KeptJob, row, f"jobs[{place}]"))
        except (RecursionError, ProtocolError) as error:
            log.warning("%s cannot be used: %s", folder / ORDER, error)
            others.append(row)
    return Order(tuple(jobs), tuple(others)) if jobs or not others else None


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
