"""What comes from a backend, and what a machine says before it. Standard library only."""

import io
import json
from collections.abc import Callable
from typing import IO

from ..protocol import PROTOCOL_VERSION, Hello, ProtocolError, Reader

_HELLO = b'{"type":"Hello"'


class Listening:
    """Tells of every piece that comes, so that a long array on a slow line is a sign of life."""

    def __init__(self, stream: IO[bytes], heard: Callable[[], None]):
        self._stream = stream
        self._heard = heard
        self.line = b""  # the latest one

    def readline(self, limit: int) -> bytes:
        self.line = self._stream.readline(limit)
        self._heard()
        return self.line

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._heard()
        return data


def hello_behind_noise(line: bytes) -> Hello | None:
    """The Hello of a line that begins with something else, such as a window's title without a line's end."""
    start = line.find(_HELLO)
    if start < 0:
        return None
    try:
        message = Reader(io.BytesIO(line[start:])).read()
    except ProtocolError:
        return _of_another_version(line[start:])
    return message if isinstance(message, Hello) else None


def _of_another_version(line: bytes) -> Hello | None:
    """A Hello with fields of another version, as far as all versions have it."""
    try:
        protocol = json.loads(line).get("protocol")
    except ValueError:
        return None
    is_other = isinstance(protocol, int) and protocol != PROTOCOL_VERSION
    return Hello(protocol, version="", python="", torch="") if is_other else None
