"""Gaussians: hand-computed values, the .ply file to the byte, and files that are not what they say."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import backend
from backend.errors import UserError
from backend.representations.gaussians import (
    CHANNELS,
    GaussianConfig,
    Gaussians,
    RawGaussians,
    activate,
    covariance,
    decode_gaussians,
    read_ply,
    split_channels,
    stored_values,
    write_ply,
)
from backend.representations.rotations import quaternions, rotation_matrices

GOLDENS = Path(backend.__file__).parent / "goldens"
OFFICIAL = {
    "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
    "perturb_offset": True,
    "voxel_size": 1.5,
    "num_gaussians": 32,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 9e-4,
    "scaling_bias": 4e-3,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}
NAMES = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()


def some_gaussians(count: int = 50, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        position=torch.rand(count, 3, generator=g) - 0.5,
        color_dc=torch.randn(count, 3, generator=g),
        opacity=torch.rand(count, 1, generator=g) * 0.98 + 0.01,
        scale=torch.rand(count, 3, generator=g) * 0.02 + 1e-3,
        rotation=torch.randn(count, 4, generator=g),
    )


def ply(
    rows: np.ndarray | None = None,
    names: list[str] = NAMES,
    count: int | str | None = None,
    first: str = "ply",
    kind: str = "binary_little_endian",
    before: str = "",
    body: bytes | None = None,
) -> bytes:
    rows = np.ones((2, len(names)), "<f4") if rows is None else rows
    lines = [first, f"format {kind} 1.0", "comment made by hand"] + ([before] if before else [])
    lines += [f"element vertex {len(rows) if count is None else count}"]
    lines += [f"property float {name}" for name in names] + ["end_header\n"]
    return "\n".join(lines).encode() + (rows.tobytes() if body is None else body)


def test_the_official_channels():
    config = GaussianConfig.from_json(OFFICIAL, 64)
    assert config.layout == {
        "_xyz": slice(0, 96),
        "_features_dc": slice(96, 192),
        "_scaling": slice(192, 288),
        "_rotation": slice(288, 416),
        "_opacity": slice(416, 448),
    }
    assert config.scale_shift == pytest.approx(-5.519460, abs=1e-6)
    assert config.opacity_shift == pytest.approx(-2.197225, abs=1e-6)


def test_an_untrained_decoder_puts_its_gaussians_in_the_voxel():
    config = GaussianConfig.from_json(OFFICIAL, 64)
    spread = torch.atanh(torch.tensor([[-1.0, 0.0, 0.5]]) / 1.5).expand(32, 3)
    g = decode_gaussians(torch.tensor([[0, 10, 63]]), torch.zeros(1, 448), config, spread)
    # tanh(atanh(h / 1.5)) · 1.5 / 2 of a voxel of edge 1/64
    expected = torch.tensor([(0.5 - 0.5) / 64, 10.5 / 64, (63.5 + 0.25) / 64]) - 0.5
    torch.testing.assert_close(g.position, expected.expand(32, 3), atol=1e-7, rtol=0)
    torch.testing.assert_close(g.scale, torch.full((32, 3), math.hypot(4e-3, 9e-4)))
    torch.testing.assert_close(g.opacity, torch.full((32, 1), 0.1))
    assert g.rotation.tolist() == [[1, 0, 0, 0]] * 32 and not g.color_dc.any()


def test_channels_are_gaussian_major_and_scaled_by_lr():
    config = GaussianConfig.from_json({**OFFICIAL, "num_gaussians": 2, "perturb_offset": False}, 4)
    raw = torch.arange(2 * 28, dtype=torch.float32).reshape(2, 28) / 100
    parts = split_channels(torch.tensor([[0, 0, 0], [1, 2, 3]]), raw, config, None)
    torch.testing.assert_close(parts.features_dc, raw[:, 6:12].reshape(4, 3))
    torch.testing.assert_close(parts.scaling, raw[:, 12:18].reshape(4, 3))
    torch.testing.assert_close(parts.rotation, raw[:, 18:26].reshape(4, 4) * 0.1)
    torch.testing.assert_close(parts.opacity, raw[:, 26:].reshape(4, 1))
    centres = torch.tensor([[0.125] * 3] * 2 + [[0.375, 0.625, 0.875]] * 2)
    torch.testing.assert_close(parts.xyz, centres + torch.tanh(raw[:, :6].reshape(4, 3)) * 1.5 / 8)


def test_exponential_scales():
    config = GaussianConfig.from_json({**OFFICIAL, "scaling_activation": "exp"}, 64)
    zero = torch.zeros(1, 3)
    g = activate(RawGaussians(zero, zero, zero + math.log(2), torch.zeros(1, 4), torch.zeros(1, 1)), config)
    torch.testing.assert_close(g.scale, torch.full((1, 3), math.hypot(8e-3, 9e-4)))


@pytest.mark.parametrize(
    "change",
    [{"colour": 1}, {"resolution": 3}, {"scaling_activation": "relu"}, {"lr": {"_xyz": 1.0}}],
)
def test_a_configuration_that_is_not_understood(change):
    with pytest.raises(UserError, match="Gaussian decoder"):
        GaussianConfig.from_json({**OFFICIAL, **change}, 64)


def test_covariance_of_a_quarter_turn():
    turn = torch.tensor([[1.0, 0.0, 0.0, 1.0]])  # 90° about z, not normalised
    g = Gaussians(
        torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 1), torch.tensor([[1.0, 2.0, 3.0]]), turn
    )
    torch.testing.assert_close(covariance(g), torch.tensor([[4.0, 0.0, 0.0, 1.0, 0.0, 9.0]]))


def test_quaternions_undo_rotation_matrices():
    turns = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turns = torch.cat([turns, torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    unit = torch.nn.functional.normalize(turns, dim=-1)
    largest = unit.gather(1, unit.abs().argmax(1, keepdim=True))
    torch.testing.assert_close(
        quaternions(rotation_matrices(turns)), unit * largest.sign(), atol=1e-7, rtol=0
    )


def test_the_file_to_the_byte(tmp_path):
    g = Gaussians(
        position=torch.tensor([[0.1, 0.2, 0.3]]),
        color_dc=torch.tensor([[1.0, -2.0, 0.5]]),
        opacity=torch.tensor([[0.5]]),
        scale=torch.tensor([[1.0, math.e, 1 / math.e]]),
        rotation=torch.tensor([[2.0, 0.0, 0.0, 0.0]]),
    )
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
    header += "".join(f"property float {name}\n" for name in NAMES) + "end_header\n"
    half = math.sqrt(0.5)  # the z-up to y-up turn alone: 90° about x
    for transform, position, rotation in (
        ({}, (0.1, -0.3, 0.2), (half, half, 0.0, 0.0)),
        ({"transform": None}, (0.1, 0.2, 0.3), (2.0, 0.0, 0.0, 0.0)),
    ):
        write_ply(tmp_path / "a.ply", g, **transform)
        written = (tmp_path / "a.ply").read_bytes()
        assert written.startswith(header.encode())
        expected = (*position, 0, 0, 0, 1, -2, 0.5, 0, 0, 1, -1, *rotation)
        assert struct.unpack("<17f", written[len(header) :]) == pytest.approx(expected, abs=3e-7)


@pytest.mark.parametrize("name", ["softplus", "exp"])
@pytest.mark.parametrize(("suffix", "transform"), [("", {}), ("_notransform", {"transform": None})])
def test_the_reference_files(tmp_path, name, suffix, transform):
    folder = GOLDENS / "gaussian_ply"
    tensors = load_file(folder / "io.safetensors")
    words = json.loads((folder / "io.json").read_text())["init_params"][name]
    config = GaussianConfig(
        resolution=1,
        lr={channel: 1.0 for channel, _ in CHANNELS},
        filter_kernel_size_3d=words["mininum_kernel_size"],
        scaling_bias=words["scaling_bias"],
        opacity_bias=words["opacity_bias"],
        scaling_activation=words["scaling_activation"],
    )
    fields = ("_xyz", "_features_dc", "_scaling", "_rotation", "_opacity")
    g = activate(RawGaussians(*(tensors[f"{name}/{field}"].flatten(1) for field in fields)), config)
    torch.testing.assert_close(covariance(g), tensors[f"{name}/get_covariance"], atol=1e-7, rtol=1e-5)
    write_ply(tmp_path / "a.ply", g, **transform)
    written, expected = (tmp_path / "a.ply").read_bytes(), (folder / f"{name}{suffix}.ply").read_bytes()
    start = expected.index(b"end_header\n") + len(b"end_header\n")
    assert written[:start] == expected[:start]
    values = [np.frombuffer(data[start:], "<f4") for data in (written, expected)]
    np.testing.assert_allclose(*values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("transform", [{}, {"transform": None}])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_round_trip(tmp_path, transform, count):
    g = some_gaussians(count)
    write_ply(tmp_path / "a.ply", g, **transform)
    again = read_ply(tmp_path / "a.ply", **transform)
    for field in ("position", "color_dc", "opacity", "scale"):
        torch.testing.assert_close(getattr(again, field), getattr(g, field), atol=1e-6, rtol=1e-5)
    # Through the sizes on the diagonal alone, float32 keeps a rotation to about 1e-3 in the worst case.
    torch.testing.assert_close(covariance(again), covariance(g), atol=1e-6, rtol=1e-2)


def test_saturated_splats_are_written_as_finite_numbers():
    ends = torch.tensor([[0.0], [1.0]])
    g = Gaussians(torch.zeros(2, 3), torch.zeros(2, 3), ends, torch.zeros(2, 3), torch.ones(2, 4))
    values = stored_values(g)
    assert all(part.isfinite().all() for part in values)
    assert torch.sigmoid(values[2]).tolist() == [[pytest.approx(0, abs=1e-20)], [1.0]]


def test_properties_are_found_by_name(tmp_path):
    g = some_gaussians(7)
    write_ply(tmp_path / "a.ply", g, transform=None)
    data = (tmp_path / "a.ply").read_bytes()
    table = np.frombuffer(data[data.index(b"end_header\n") + 11 :], "<f4").reshape(7, 17)
    names = NAMES[::-1] + [f"f_rest_{n}" for n in range(45)]
    rows = np.concatenate([table[:, ::-1], np.full((7, 45), np.nan, "<f4")], axis=1)
    before = "element camera 1\nproperty double focus\nproperty uchar id"
    shuffled = ply(rows, names, before=before, body=bytes(9) + rows.tobytes())
    (tmp_path / "b.ply").write_bytes(shuffled)
    again = read_ply(tmp_path / "b.ply", transform=None)
    torch.testing.assert_close(again.position, g.position)
    torch.testing.assert_close(again.rotation, g.rotation)
    (tmp_path / "b.ply").write_bytes(shuffled.replace(b"\nproperty", b"\r\nproperty"))
    torch.testing.assert_close(read_ply(tmp_path / "b.ply", transform=None).rotation, g.rotation)


def test_doubles_are_read(tmp_path):
    data = ply(np.ones((3, 17), "<f8")).replace(b"property float", b"property double")
    (tmp_path / "a.ply").write_bytes(data)
    assert len(read_ply(tmp_path / "a.ply", transform=None)) == 3


def changed(column: int, value: float) -> bytes:
    rows = np.ones((2, 17), "<f4")
    rows[1, column] = value
    return ply(rows)


BROKEN = {
    "no PLY": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "empty": b"",
    "three letters": b"ply",
    "magic only": b"ply\n",
    "no header end": ply()[:300],
    "endless header": b"ply\nformat binary_little_endian 1.0\n" + b"comment x\n" * 100_000,
    "one endless line": b"ply\n" + b"x" * 1_000_000,
    "ends at once": b"ply\nend_header\n",
    "ascii": ply(kind="ascii"),
    "big-endian": ply(kind="binary_big_endian"),
    "body cut short": ply()[:-1],
    "no body": ply(body=b""),
    "huge count": ply(count=10**15 - 1),
    "huger count": ply(count=10**40),
    "negative count": ply(count=-1),
    "count in words": ply(count="two"),
    "other digits": ply(count="²"),
    "unknown type": ply().replace(b"property float x", b"property quad x"),
    "property before element": ply(before="property float x"),
    "same name twice": ply(names=[*NAMES[:-1], "x"]),
    "list in vertices": ply().replace(b"property float nx", b"property list uchar int nx"),
    "list before vertices": ply(before="element face 1\nproperty list uchar int vertex_indices"),
    "no vertices": ply().replace(b"element vertex", b"element points"),
    "plain mesh": ply(names=NAMES[:6], rows=np.zeros((2, 6), "<f4")),
    "no rotation": ply(names=NAMES[:-1]),
    "NaN": changed(0, math.nan),
    "infinite scale": changed(10, math.inf),
    "scale out of range": changed(10, 500),
    "infinite opacity": changed(9, -math.inf),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_refused_in_a_sentence(tmp_path, fault):
    (tmp_path / "splats.ply").write_bytes(BROKEN[fault])
    with pytest.raises(UserError, match=r"splats\.ply .*\.$"):
        read_ply(tmp_path / "splats.ply")


def test_a_rotation_of_no_length_is_refused(tmp_path):
    rows = np.ones((2, 17), "<f4")
    rows[0, 13:] = 0
    (tmp_path / "splats.ply").write_bytes(ply(rows))
    with pytest.raises(UserError, match="without a size or a direction"):
        read_ply(tmp_path / "splats.ply")


def test_a_file_that_cannot_be_opened(tmp_path):
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "missing.ply", "cannot be read")):
        with pytest.raises(UserError, match=words):
            read_ply(path)
