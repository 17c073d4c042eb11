"""A message as a frame, and frames off a stream.

A frame is one line of JSON (`type`, the fields that differ from their defaults, and `arrays`: the name, dtype
and shape of each), then the arrays' raw little-endian bytes in that order. An array's name is its key in the
dictionary or its place in the tuple that holds it.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .fields import array_field, arrays_have_places, called, from_json, is_text, quoted, to_json
from .messages import ITEM_BYTES, MESSAGES, Array, Buffer, Message, ProtocolError


@dataclass(frozen=True)
class Limits:
    """What one frame may take. `message_bytes` counts the arrays, `line_bytes` the JSON line."""

    line_bytes: int = 1 << 20
    arrays: int = 1024
    message_bytes: int = 512 << 20


def encode(message: Message, limits: Limits = Limits()) -> list[Buffer]:
    """The pieces of the frame in order: line, each array's bytes. ProtocolError if it would be refused."""
    kind: type = type(message)
    arrays = arrays_of(message)
    announced = [{"name": name, "dtype": a.dtype, "shape": list(a.shape)} for name, a in arrays.items()]
    fields = to_json(message)
    fields.pop(array_field(kind), None)
    from_json(kind, fields, kind.__name__)  # what the other side would refuse never leaves
    for checked, array in zip(_announced(announced, limits), arrays.values(), strict=True):
        if memoryview(array.data).nbytes != checked.size:
            raise ProtocolError(
                f"{kind.__name__}.{checked.name} lacks some of the bytes of its shape, or has more."
            )
    header = {"type": kind.__name__, **fields} | ({"arrays": announced} if announced else {})
    line = json.dumps(header, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > limits.line_bytes:
        raise ProtocolError(f"{kind.__name__} has more text than the {limits.line_bytes} bytes of a line.")
    return [line, *(array.data for array in arrays.values())]


def arrays_of(message: Message) -> dict[str, Array]:
    """The arrays that a message holds, by name or by place."""
    kind: type = type(message)
    held = getattr(message, array_field(kind), ())
    return dict(held if isinstance(held, Mapping) else ((str(place), a) for place, a in enumerate(held)))


class Stream(Protocol):
    """What is read from: a buffered binary stream, or something around one."""

    def readline(self, limit: int, /) -> bytes: ...
    def read(self, size: int, /) -> bytes: ...


class Reader:
    """Takes frames off a buffered binary stream; memory grows only with bytes that have really arrived."""

    CHUNK = 1 << 20

    def __init__(self, stream: Stream, limits: Limits = Limits()):
        self._stream = stream
        self._limits = limits

    def read(self) -> Message | None:
        """The next message, None at the end of the stream. ProtocolError on a bad frame.

        After a recoverable one the stream stands behind the frame, as far as its line could be understood.
        """
        line = self._line()
        if not line:
            return None
        header = _parse(line)
        job = header.get("job")
        try:
            return self._message(header)
        except ProtocolError as error:
            error.job = job if isinstance(job, str) and is_text(job) else ""
            raise

    def _message(self, header: dict[str, Any]) -> Message:
        announced = _announced(header.pop("arrays", []), self._limits)
        fault: ProtocolError | None = None
        try:
            kind = _message_kind(header.pop("type", None))
            blank = from_json(kind, header, kind.__name__)
            _check_names(kind, [array.name for array in announced])
        except ProtocolError as error:
            fault = error  # only raised once the arrays are read away
        arrays = {}
        for array in announced:
            data = self._bytes(array.size, keep=fault is None)
            arrays[array.name] = Array(array.dtype, array.shape, data)
        if fault:
            raise fault
        if not arrays:
            return blank
        held = tuple(arrays.values()) if arrays_have_places(kind) else arrays
        return dataclasses.replace(blank, **{array_field(kind): held})

    def _line(self) -> bytes:
        limit = self._limits.line_bytes
        line = self._stream.readline(limit)
        if not line or line.endswith(b"\n"):
            return line
        while not line.endswith(b"\n"):
            line = self._stream.readline(limit)
            if not line:
                raise ProtocolError("The stream ended in the middle of a line.", recoverable=False)
        raise ProtocolError(f"A line is longer than {limit} bytes.")

    def _bytes(self, size: int, keep: bool) -> bytearray:
        data, left = bytearray(), size
        while left:
            chunk = self._stream.read(min(left, self.CHUNK))
            if not chunk:
                raise ProtocolError("The stream ended in the middle of an array.", recoverable=False)
            left -= len(chunk)
            if keep:
                data += chunk
        return data


def _parse(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line.decode("utf-8"), object_pairs_hook=_no_twins)
    except UnicodeDecodeError:
        raise ProtocolError("A line is not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(";")[0]
        raise ProtocolError(f"A line is not JSON: {reason}.") from None
    if not isinstance(header, dict):
        raise ProtocolError(f"A line must hold a JSON object, not {called(header)}.")
    return header


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for place, name in enumerate(names) if name in names[:place])
        raise ProtocolError(f"A line holds {quoted(twin)} twice.")
    return fields


@dataclass(frozen=True)
class _Announcement:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


def _announced(listed: Any, limits: Limits) -> list[_Announcement]:
    if not isinstance(listed, list):
        raise ProtocolError(f'"arrays" must be a list, not {called(listed)}.')
    if len(listed) > limits.arrays:
        raise ProtocolError(f"A message may hold {limits.arrays} arrays, not {len(listed)}.")
    arrays = []
    for place, entry in enumerate(listed):
        array = from_json(_Announcement, entry, f"arrays[{place}]")
        if array.dtype not in ITEM_BYTES:
            raise ProtocolError(f"arrays[{place}].dtype must be u1, i4 or f4, not {quoted(array.dtype)}.")
        if len(array.shape) > 8 or not all(0 <= length <= limits.message_bytes for length in array.shape):
            raise ProtocolError(f"arrays[{place}].shape is no shape that an array of a message can have.")
        arrays.append(array)
    total = sum(array.size for array in arrays)
    if total > limits.message_bytes:
        raise ProtocolError(f"The arrays of a message may take {limits.message_bytes} bytes, not {total}.")
    return arrays


def _message_kind(name: Any) -> type:
    if not isinstance(name, str) or name not in MESSAGES:
        raise ProtocolError(
            f"There is no message of type {quoted(name) if isinstance(name, str) else called(name)}."
        )
    return MESSAGES[name]


def _check_names(kind: type, names: list[str]) -> None:
    if names and not array_field(kind):
        raise ProtocolError(f"{kind.__name__} holds no arrays, but {len(names)} came with it.")
    if len(set(names)) < len(names):
        raise ProtocolError(f"{kind.__name__} came with two arrays of one name.")
    if arrays_have_places(kind) and names != [str(place) for place in range(len(names))]:
        raise ProtocolError(f'The arrays of {kind.__name__} must be named "0", "1" and so on, in order.')
