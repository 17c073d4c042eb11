"""Whatever comes in, the reader ends, names the fault, and takes no more memory than came or is allowed."""

import io
import json
import tracemalloc

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from blender_trellis.protocol import (
    MESSAGES,
    Array,
    Generate,
    Limits,
    ProtocolError,
    Reader,
    Result,
    SamplingParams,
    encode,
)

SMALL = Limits(line_bytes=4096, arrays=4, message_bytes=1 << 16)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SEEDS = [
    Generate(
        "a",
        pictures=(Array("u1", (40,), bytes(range(40))),),
        sparse_structure=SamplingParams(12, 7.5, (0.5, 1.0)),
    ),
    Result(
        "a",
        "mesh",
        {"resolution": 64},
        {"vertices": Array("f4", (4, 3), bytes(48)), "faces": Array("i4", (2, 3), bytes(24))},
    ),
]
FRAMES = [b"".join(map(bytes, encode(message))) for message in SEEDS]


class Counted(io.BytesIO):
    """A stream that notices a reader that goes on asking at its end."""

    asked_at_end = 0

    def _count(self, data: bytes) -> bytes:
        self.asked_at_end += not data
        assert self.asked_at_end < 50, "the reader does not end"
        return data

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= Reader.CHUNK, "the reader asks for more than a piece"
        return self._count(super().read(size))

    def readline(self, limit: int = -1) -> bytes:
        assert limit > 0, "the reader asks for a line without bound"
        return self._count(super().readline(limit))


def drain(data: bytes, limits: Limits = SMALL) -> list:
    """All that a reader makes of the bytes: messages and sentences."""
    reader, came = Reader(Counted(data), limits), []
    for _ in range(len(data) + 2):
        try:
            message = reader.read()
        except ProtocolError as error:
            assert str(error).endswith(".") and len(str(error)) < 1000
            str(error).encode()  # can be shown and sent
            error.job.encode()
            came.append(str(error))
            if not error.recoverable:
                return came
        else:
            if message is None:
                return came
            assert type(message) in MESSAGES.values()
            encode(message)  # what was read is sound enough to be sent again
            came.append(message)
    raise AssertionError("the reader does not end")


@QUICK
@given(st.binary(max_size=2000))
def test_random_bytes(data):
    drain(data)


@QUICK
@given(st.sampled_from(FRAMES), st.data())
def test_valid_frames_with_bytes_changed(frame, data):
    frame = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 6))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    drain(bytes(frame) + FRAMES[1])


@QUICK
@given(st.sampled_from(FRAMES), st.integers(0, 400), st.integers(0, 60))
def test_valid_frames_cut_out(frame, start, length):
    drain(frame[:start] + frame[start + length :] + FRAMES[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted(
    {name for kind in MESSAGES.values() for name in kind.__dataclass_fields__} | {"steps", "cfg_interval"}
)


@QUICK
@given(
    st.sampled_from(sorted(MESSAGES)),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
    st.binary(max_size=64),
)
@example("Heartbeat", {"seconds": 10**400}, b"")
@example("Cancel", {"job": "\ud800"}, b"")
@example("Result", {"job": "a", "kind": "mesh", "info": {"\ud800": 1}}, b"")
def test_real_types_with_fields_of_any_value(kind, fields, rest):
    drain(json.dumps({"type": kind, **fields}).encode() + b"\n" + rest)


@QUICK
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["0", "1", "vertices", ""]),
                "dtype": st.sampled_from(["u1", "i4", "f4", "f8", ""]),
                "shape": st.lists(st.integers(-2, 1 << 70) | st.integers(0, 5), max_size=4),
            }
        ),
        max_size=6,
    ),
    st.sampled_from(["Generate", "Result", "Cancel"]),
    st.binary(max_size=200),
)
def test_announcements_of_any_size(arrays, kind, rest):
    drain(json.dumps({"type": kind, "job": "a", "arrays": arrays}).encode() + b"\n" + rest)


@QUICK
@given(st.binary(max_size=300))
def test_what_follows_a_refused_frame_is_read(garbage):
    """A line of any content is left behind at its end, and the frame after it comes out whole."""
    line = garbage.replace(b"\n", b" ") + b"\n"
    assert drain(line + FRAMES[1])[-1] == SEEDS[1]


def peak(data: bytes, limits: Limits) -> int:
    tracemalloc.start()
    try:
        drain(data, limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_only_with_what_arrives():
    announced = b'{"type":"Generate","job":"a","arrays":[{"name":"0","dtype":"u1","shape":[500000000]}]}\n'
    assert peak(announced + bytes(100_000), Limits()) < 3 << 20
    assert peak(b"x" * (8 << 20), Limits()) < 4 << 20  # a line without end is not gathered
    assert peak(b"x" * (8 << 20) + b"\n", Limits()) < 4 << 20


def test_arrays_of_a_refused_frame_are_not_kept():
    refused = b'{"type":"Explode","job":"a","arrays":[{"name":"0","dtype":"u1","shape":[20000000]}]}\n'
    assert peak(refused + bytes(20_000_000), Limits()) < 5 << 20


def test_deep_and_long_lines_stay_within_bounds():
    for line in (b"[" * 1_000_000, b"[" + b"{}," * 300_000, b'{"a":' * 100_000, b"1" * 1_000_000):
        assert peak(line + b"\n", Limits()) < 64 << 20
