"""Norms, embeddings, pooling and subdivision, against arithmetic written out."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from backend.checkpoints.find_model import find_model
from backend.errors import UserError
from backend.layers.embedding import (
    TimestepEmbedder,
    absolute_position_embedding,
    grid_coordinates,
    timestep_frequencies,
)
from backend.layers.norm import ChannelLayerNorm32, LayerNorm32, MultiHeadRMSNorm, SparseGroupNorm32
from backend.layers.sparse import check_coords, pool, pool_coords, subdivide, subdivide_coords, unpool


def test_layer_norm_is_computed_in_fp32() -> None:
    x = 1000 + torch.randn(4, 64)
    half = LayerNorm32(64, elementwise_affine=False)(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, F.layer_norm(x.bfloat16().float(), (64,)).bfloat16())


def test_channel_norm_treats_every_voxel_alone() -> None:
    norm = ChannelLayerNorm32(6)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 6, 3, 4, 5)
    expected = F.layer_norm(x[1, :, 2, 0, 3], (6,), norm.weight, norm.bias, 1e-5)
    torch.testing.assert_close(norm(x)[1, :, 2, 0, 3], expected)


def test_group_norm_of_voxels_is_that_of_a_volume() -> None:
    norm = SparseGroupNorm32(4, 12)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    feats = 3 + torch.randn(50, 12)
    expected = F.group_norm(feats.T[None], 4, norm.weight, norm.bias, norm.eps)[0].T
    torch.testing.assert_close(norm(feats), expected, atol=1e-5, rtol=1e-5)


def test_rms_norm_scales_every_head_to_the_root_of_its_width() -> None:
    norm = MultiHeadRMSNorm(8, 3)
    x = 50 * torch.randn(2, 5, 3, 8)
    torch.testing.assert_close(norm(x).norm(dim=-1), torch.full((2, 5, 3), math.sqrt(8)))
    torch.testing.assert_close(norm(x), norm(x / 7))
    assert torch.equal(norm(torch.zeros(1, 3, 8)), torch.zeros(1, 3, 8))


@pytest.mark.parametrize(("channels", "padding"), [(768, 0), (1024, 4), (1280, 2), (24, 0)])
def test_position_embedding_is_sines_then_cosines_of_each_axis(channels: int, padding: int) -> None:
    embedding = absolute_position_embedding(torch.tensor([[3, 0, 61]]), channels)[0]
    per_axis = channels // 3 // 2
    last = 1 / 10000 ** ((per_axis - 1) / per_axis)
    assert embedding.shape == (channels,)
    assert embedding[0].item() == pytest.approx(math.sin(3), abs=1e-6)
    assert embedding[per_axis - 1].item() == pytest.approx(math.sin(3 * last), abs=1e-6)
    assert embedding[per_axis].item() == pytest.approx(math.cos(3), abs=1e-6)
    assert embedding[2 * per_axis : 4 * per_axis].tolist() == [0.0] * per_axis + [1.0] * per_axis
    assert embedding[4 * per_axis].item() == pytest.approx(math.sin(61), abs=1e-5)
    assert embedding[channels - padding :].tolist() == [0.0] * padding


def test_grid_runs_fastest_along_z() -> None:
    assert grid_coordinates(3)[:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]]


def test_a_flow_is_read_without_torchs_compiler() -> None:
    """Importing it takes seconds before the first step, and fails for good where no disk has room."""
    flow = find_model("starter") / "ckpts" / "ss_flow_img_dit_16l8"
    code = "import sys; from pathlib import Path; from backend.checkpoints.weights import read_model; "
    code += "read_model(Path(sys.argv[1])); sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(flow)], check=True)


def test_timestep_frequencies_are_cosines_then_sines() -> None:
    row = timestep_frequencies(torch.tensor([500.0]))[0]
    assert row.shape == (256,)
    assert row[0].item() == pytest.approx(math.cos(500), abs=1e-4)
    assert row[128].item() == pytest.approx(math.sin(500), abs=1e-4)
    assert row[127].item() == pytest.approx(math.cos(500 * 10000 ** (-127 / 128)), abs=1e-5)
    assert TimestepEmbedder(8)(torch.tensor([0.0, 1000.0])).shape == (2, 8)


def test_pooling_divides_by_the_number_of_children_plus_one() -> None:
    coords = torch.tensor([[5, 4, 4], [0, 0, 0], [4, 4, 4], [1, 1, 1], [4, 5, 4]])
    feats = torch.tensor([[3.0], [10.0], [5.0], [20.0], [4.0]])
    pooling = pool_coords(coords)
    assert pooling.coarse_coords.tolist() == [[0, 0, 0], [2, 2, 2]]
    assert pool(feats, pooling).tolist() == [[10.0], [3.0]]
    assert unpool(torch.tensor([[1.0], [2.0]]), pooling).flatten().tolist() == [2.0, 1.0, 2.0, 1.0, 2.0]


def test_a_full_voxel_pools_to_eight_ninths() -> None:
    coords = subdivide_coords(torch.tensor([[1, 2, 3]]))
    assert coords.tolist()[:3] == [[2, 4, 6], [2, 4, 7], [2, 5, 6]]
    pooled = pool(subdivide(torch.tensor([[9.0]])), pool_coords(coords))
    assert pooled.tolist() == [[8.0]]


def test_no_voxels_is_the_users_matter_and_a_wrong_shape_a_bug() -> None:
    with pytest.raises(UserError, match="no occupied voxels"):
        check_coords(torch.zeros(0, 3, dtype=torch.int32))
    with pytest.raises(ValueError, match="coords must be"):
        check_coords(torch.zeros(5, 4, dtype=torch.int32))
