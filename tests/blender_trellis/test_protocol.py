"""The protocol: round trips, defaults that are not sent, and faults that are named."""

import dataclasses
import io
import json

import pytest

from blender_trellis.protocol import (
    MESSAGES,
    Array,
    Cancel,
    Cancelled,
    Complete,
    CutOut,
    Device,
    Edit,
    Encode,
    Failed,
    Finish,
    Finished,
    Finishing,
    Generate,
    Heartbeat,
    Hello,
    Limits,
    Loaded,
    LoadModel,
    ModelInfo,
    Progress,
    ProtocolError,
    Reader,
    Result,
    SamplingParams,
    Shutdown,
    StageInfo,
    Vary,
    encode,
)

PICTURE = Array("u1", (5,), b"\x89PNG\n")
WHERE = ("a", "large", "cuda:1", "fp16", "cuda", "release")
DECODED = (
    *WHERE,
    ("radiance_field",),
    Finishing("game", 9000, True, 1024, False, "auto", True, "metal", False, 0.5),
)
SAMPLED = (
    *DECODED,
    ("front é.png", "back.png"),
    "keep",
    "a chair",
    7,
    SamplingParams(12, 7.5, (0.5, 1.0), 3.0, 0.4),
    SamplingParams(steps=25),
    "multidiffusion",
    True,
)
FULL = [
    LoadModel(*WHERE),
    Generate(*SAMPLED, pictures=(PICTURE, Array("u1", (0,), b"")), structure_only=True),
    Edit(
        *SAMPLED,
        {"picture_0": PICTURE, "region_0_vertices": PICTURE, "region_0_faces": PICTURE},
        32,
        64,
        "hash",
        "look",
        ((1.0,) * 16,),
        "asset",
        1,
        0,
        3,
    ),
    Vary(*SAMPLED, {"picture_0": PICTURE}, 32, 64, "hash", True, "mesh"),
    Complete(*SAMPLED, {"picture_0": PICTURE}, 32, 64, "hash"),
    Encode(*DECODED, {"vertices": PICTURE}),
    Finish(*DECODED, {"vertices": PICTURE}, ("front.png",), "plain"),
    CutOut("a", (PICTURE,), "front.png", "remover"),
    Cancel("a"),
    Shutdown(),
    Hello(
        1,
        "0.1.0",
        "3.11.7",
        "2.13",
        (Device("cuda:0", "H200", 140 << 30), Device("cpu", "x86")),
        (
            ModelInfo(
                "starter",
                ("pictures", "text"),
                True,
                ("mesh",),
                (StageInfo("structured_latent", 2, -0.5, 3.0, 0.03),),
                {"seed": "It starts from no noise."},
            ),
            ModelInfo("other"),
        ),
    ),
    Loaded("a", "starter", "cpu", "bfloat16", "abc", 1.25),
    Progress("a", "structured_latent", 3, 25, 0.5),
    Result(
        "a",
        "mesh",
        {"resolution": 64, "scale": 0.5, "name": "x"},
        {"vertices": Array("f4", (2, 3), bytes(24)), "faces": Array("i4", (0, 3), b"")},
    ),
    Finished("a", 12.5, 7, "starter", "abc", "def"),
    Failed("a", "out_of_memory", "It needs 9.0 GB; take half precision.", "half_precision"),
    Cancelled("a", 0.25),
    Heartbeat(2.0, 1 << 33, "a"),
]
EMPTY = '{"name": "0", "dtype": "u1", "shape": [0]}'


def sent(*messages) -> bytes:
    return b"".join(bytes(piece) for message in messages for piece in encode(message))


def read(data: bytes, **limits):
    return Reader(io.BytesIO(data), Limits(**limits)).read()


def fault_of(line: str | bytes, rest: bytes = b"", **limits) -> ProtocolError:
    line = line.encode() if isinstance(line, str) else line
    with pytest.raises(ProtocolError) as caught:
        read(line + b"\n" + rest, **limits)
    return caught.value


def test_every_message_has_a_full_example():
    assert {type(message).__name__ for message in FULL} == set(MESSAGES)
    for message in FULL:
        for field in dataclasses.fields(message):
            assert getattr(message, field.name) != field.default, (message, field.name)


@pytest.mark.parametrize("message", FULL, ids=lambda message: type(message).__name__)
def test_round_trip(message):
    assert read(sent(message)) == message


def test_messages_follow_each_other():
    reader = Reader(io.BytesIO(sent(*FULL)))
    assert [reader.read() for _ in FULL] == FULL
    assert reader.read() is None


def test_the_arrays_of_a_request_have_their_places():
    edit = Edit("a", arrays={"picture_1": PICTURE, "region_0_vertices": PICTURE, "region_0_faces": PICTURE})
    assert edit.pictures == () and edit.meshes == ((PICTURE, PICTURE),)
    assert Vary("a", arrays={"picture_1": PICTURE, "picture_0": PICTURE}).pictures == (PICTURE, PICTURE)


def test_defaults_serialise_to_nothing():
    for kind in MESSAGES.values():
        required = {
            "job": "a",
            "protocol": 1,
            "stage": "load",
            "kind": "mesh",
            "step": 1,
            "steps": 2,
            "seed": 1,
        }
        if kind is Failed:
            required["kind"] = "internal"
        fields = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory]  # both MISSING
        message = kind(**{name: required.get(name, 0.5 if name == "seconds" else "x") for name in fields})
        (line,) = encode(message)
        assert set(json.loads(line)) == {"type", *fields}
        assert read(line) == message


def test_only_what_differs_is_sent_of_nested_settings():
    (line,) = encode(Generate("a", sparse_structure=SamplingParams(steps=3)))
    assert json.loads(line) == {"type": "Generate", "job": "a", "sparse_structure": {"steps": 3}}


def test_arrays_are_raw_bytes_behind_the_line():
    line, data = encode(Generate("a", pictures=(PICTURE,)))
    assert json.loads(line)["arrays"] == [{"name": "0", "dtype": "u1", "shape": [5]}]
    assert data == PICTURE.data


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        ("[1]", "object, not a list"),
        ("3", "object, not 3"),
        ("{}", "no message of type null"),
        ('{"type": "Explode"}', '"Explode"'),
        ('{"type": ["Cancel"]}', "a list"),
        ('{"type": "Cancel"}', 'lacks the field "job"'),
        ('{"type": "Cancel", "job": 3}', "Cancel.job must be a text, not 3"),
        ('{"type": "Cancel", "job": "a", "job": "b"}', '"job" twice'),
        ('{"type": "Cancel", "job": "a", "why": 1}', 'no field "why"'),
        (r'{"type": "Cancel", "job": "\ud800"}', "Cancel.job must be a text"),
        ('{"type": "Generate", "job": "a", "seed": 1.5}', "Generate.seed must be a whole number"),
        ('{"type": "Generate", "job": "a", "seed": true}', "not true"),
        ('{"type": "Generate", "job": "a", "seed": 99999999999999999999}', "so large a number"),
        ('{"type": "Generate", "job": "a", "seed": ' + "9" * 5000 + "}", "not JSON"),
        ('{"type": "Generate", "job": "a", "formats": ["mesh", "obj"]}', "formats[1] must be one of mesh"),
        ('{"type": "Generate", "job": "a", "formats": "mesh"}', "must be a list"),
        (
            '{"type": "Generate", "job": "a", "sparse_structure": {"cfg_strength": NaN}}',
            "cfg_strength must be a number",
        ),
        ('{"type": "Generate", "job": "a", "sparse_structure": {"cfg_strength": 1e999}}', "not inf"),
        ('{"type": "Generate", "job": "a", "sparse_structure": {"cfg_interval": [1]}}', "2 entries, not 1"),
        (
            '{"type": "Generate", "job": "a", "sparse_structure": {"step": 1}}',
            'sparse_structure has no field "step"',
        ),
        ('{"type": "Generate", "job": "a", "sparse_structure": 4}', "must be an object, not 4"),
        ('{"type": "Generate", "job": "a", "pictures": ["x"]}', 'no field "pictures"'),
        (
            '{"type": "Result", "job": "a", "kind": "mesh", "info": {"n": null}}',
            "info.n must be a text or a number",
        ),
        ('{"type": "Result", "job": "a", "kind": "mesh", "info": {"n": Infinity}}', "info.n"),
        ('{"type": "Heartbeat", "seconds": -Infinity}', "-inf"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_the_fault_is_named(line, words):
    error = fault_of(line)
    assert words in str(error)
    assert str(error).endswith(".")
    assert error.recoverable


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ('{"name": "0"}', '"arrays" must be a list'),
        ('[{"name": "0", "dtype": "u1"}]', 'lacks the field "shape"'),
        ('[{"name": "0", "dtype": "f8", "shape": [1]}]', "u1, i4 or f4"),
        ('[{"name": "0", "dtype": "u1", "shape": [-1]}]', "shape"),
        ('[{"name": "0", "dtype": "u1", "shape": [1.0]}]', "whole number"),
        ('[{"name": "0", "dtype": "u1", "shape": [1,1,1,1,1,1,1,1,1]}]', "shape"),
        ('[{"name": "0", "dtype": "f4", "shape": [200000000]}]', "may take 536870912 bytes, not 800000000"),
        ('[{"name": "0", "dtype": "u1", "shape": [99999999999999]}]', "shape"),
        ('[{"name": "0", "dtype": "u1", "shape": [0], "offset": 3}]', 'no field "offset"'),
        (f"[{','.join([EMPTY] * 1025)}]", "1024 arrays, not 1025"),
        ('[{"name": "1", "dtype": "u1", "shape": [0]}]', '"0", "1"'),
        (f"[{','.join([EMPTY] * 2)}]", "two arrays of one name"),
    ],
)
def test_faults_of_announced_arrays_are_named_with_their_job(arrays, words):
    error = fault_of('{"type": "Generate", "job": "mine", "arrays": ' + arrays + "}")
    assert words in str(error)
    assert error.recoverable
    assert error.job == "mine"


def test_a_message_without_arrays_refuses_them():
    assert "holds no arrays" in str(
        fault_of('{"type":"Cancel","job":"a","arrays":[{"name":"x","dtype":"u1","shape":[0]}]}')
    )


def test_arrays_of_a_refused_frame_are_read_away():
    bad = b'{"type":"Nonsense","job":"a","arrays":[{"name":"x","dtype":"f4","shape":[2]}]}\n\n\n\n\n\n\n\n\n'
    reader = Reader(io.BytesIO(bad + sent(Cancel("b"))))
    with pytest.raises(ProtocolError):
        reader.read()
    assert reader.read() == Cancel("b")


def test_a_broken_line_is_left_behind_at_its_end():
    reader = Reader(io.BytesIO(b'{"type":"Cancel"\n' + sent(Cancel("b"))))
    with pytest.raises(ProtocolError):
        reader.read()
    assert reader.read() == Cancel("b")


def test_an_overlong_line_is_left_behind_at_its_end():
    reader = Reader(io.BytesIO(b"x" * 3500 + b"\n" + sent(Cancel("b"))), Limits(line_bytes=1000))
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        reader.read()
    assert reader.read() == Cancel("b")


@pytest.mark.parametrize("cut", [1, 30, 100, 125])
def test_the_end_in_the_middle_of_a_frame_is_final(cut):
    data = sent(Generate("a", pictures=(Array("u1", (50,), bytes(50)),)))
    with pytest.raises(ProtocolError, match="ended in the middle") as caught:
        read(data[:cut])
    assert not caught.value.recoverable


def test_what_would_be_refused_never_leaves():
    for message in (
        Generate("a", sparse_structure=SamplingParams(cfg_strength=float("nan"))),
        Progress("a", "baking", 1, 2),  # type: ignore[arg-type]
        Progress("a", "load", 0.5, 2),  # type: ignore[arg-type]
        Result("a", "mesh", {"x": [1]}, {}),  # type: ignore[dict-item]
        Result("a", "mesh", {}, {"v": Array("f4", (2, 3), bytes(23))}),
        Result("a", "mesh", {}, {"v": Array("f2", (1,), bytes(2))}),
        Generate("a", prompt="x" * (1 << 20)),
    ):
        with pytest.raises(ProtocolError):
            encode(message)


def test_file_names_that_are_no_utf8_travel_in_a_readable_form():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert read(sent(Generate("a", picture_names=(name,)))).picture_names == ("caf\\udce9.png",)
