"""Convolution at the occupied voxels: the dense convolution is the judge."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.layers import submanifold
from backend.layers.embedding import grid_coordinates
from backend.layers.neighbours import NeighbourTable, find_neighbours
from backend.layers.sparse import subdivide, subdivide_coords
from backend.layers.sparse_conv import PointwiseConv3d, SubmanifoldConv3d
from backend.layers.submanifold import CENTRE, is_cheaper_whole, subdivided_conv, submanifold_conv

# Two fp32 sums of 27 x 4 products of size one: 108 roundings of up to 1e-6 each, as partial sums reach 32.
SUMS = {"atol": 1e-4, "rtol": 1e-5}


def some_coords(resolution: int = 7, share: float = 0.4, seed: int = 0) -> Tensor:
    """Random voxels in random order."""
    generator = torch.Generator().manual_seed(seed)
    grid = grid_coordinates(resolution)
    count = int(share * len(grid))
    return grid[torch.randperm(len(grid), generator=generator)[:count]]


def dense_conv(coords: Tensor, feats: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same through a dense volume; (L, C_out)."""
    x, y, z = coords.T
    extent = int(coords.max()) + 1
    volume = feats.new_zeros(feats.shape[1], extent, extent, extent)
    volume[:, x, y, z] = feats.T
    out = F.conv3d(volume[None], weight.permute(0, 4, 1, 2, 3), bias, padding=1)[0]
    return out[:, x, y, z].T


def directed_pairs(table: NeighbourTable) -> list[set[tuple[int, int]]]:
    directions = [table.along(direction) for direction in range(27) if direction != CENTRE]
    return [set(zip(a.tolist(), b.tolist(), strict=True)) for a, b in directions]


@pytest.fixture
def weights() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(5, 3, 3, 3, 4), torch.randn(5)


@pytest.fixture(params=["whole", "by pairs"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways must give the same, whichever is the cheaper one."""
    monkeypatch.setattr(submanifold, "is_cheaper_whole", lambda *_: request.param == "whole")


@pytest.mark.parametrize("share", [1.0, 0.4, 0.01, 0.003])
def test_equals_the_dense_convolution_where_voxels_are(
    share: float, way: None, weights: tuple[Tensor, Tensor]
) -> None:
    coords = some_coords(share=share)
    feats = torch.randn(len(coords), 4)
    out = submanifold_conv(feats, *weights, find_neighbours(coords))
    torch.testing.assert_close(out, dense_conv(coords, feats, *weights), **SUMS)


def test_order_of_voxels_does_not_matter(weights: tuple[Tensor, Tensor]) -> None:
    coords = some_coords()
    feats = torch.randn(len(coords), 4)
    order = torch.randperm(len(coords))
    straight = submanifold_conv(feats, *weights, find_neighbours(coords))
    shuffled = submanifold_conv(feats[order], *weights, find_neighbours(coords[order]))
    torch.testing.assert_close(shuffled, straight[order], **SUMS)


def test_voxels_at_opposite_faces_are_no_neighbours() -> None:
    coords = torch.tensor([[0, 0, 0], [0, 0, 7], [0, 7, 0], [0, 1, 7], [7, 0, 0], [7, 7, 7]])
    rows = find_neighbours(coords).rows
    assert (rows < len(coords)).sum() == len(coords) + 2  # themselves, and (0, 0, 7) with (0, 1, 7)


def test_a_voxel_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        find_neighbours(torch.tensor([[1, 2, 3], [0, 0, 0], [1, 2, 3]]))


def test_gathering_in_small_lots_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, way: None, weights: tuple[Tensor, Tensor]
) -> None:
    coords = some_coords()
    feats, table = torch.randn(len(coords), 4), find_neighbours(coords)
    whole = submanifold_conv(feats, *weights, table)
    monkeypatch.setattr(submanifold, "VOXELS_ON_PROCESSOR", 3)
    monkeypatch.setattr(submanifold, "PAIRS_ON_PROCESSOR", 3)
    torch.testing.assert_close(submanifold_conv(feats, *weights, table), whole, **SUMS)


def test_the_way_follows_from_width_and_filling() -> None:
    """Narrow rows or few gaps are gathered whole; wide rows with many gaps go by pairs."""
    full, sparse = find_neighbours(some_coords(share=1.0)), find_neighbours(some_coords(share=0.1))
    narrow, wide = torch.zeros(1, 32), torch.zeros(1, 1024)
    weight = torch.zeros(1)
    assert sparse.filled < 0.2 < 0.6 < full.filled
    assert is_cheaper_whole(narrow, weight, full) and not is_cheaper_whole(wide, weight, sparse)
    assert not is_cheaper_whole(wide, weight, full)


def gradients(convolve, upstream: Tensor, *tensors: Tensor) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    return list(torch.autograd.grad((convolve(*leaves) * upstream).sum(), leaves))


def test_gradients_equal_those_of_the_dense_convolution(way: None, weights: tuple[Tensor, Tensor]) -> None:
    coords = some_coords()
    feats, upstream, table = torch.randn(len(coords), 4), torch.randn(len(coords), 5), find_neighbours(coords)
    sparse = gradients(lambda x, w, b: submanifold_conv(x, w, b, table), upstream, feats, *weights)
    dense = gradients(lambda x, w, b: dense_conv(coords, x, w, b), upstream, feats, *weights)
    for ours, theirs in zip(sparse, dense, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_gradients_of_the_children_reach_their_parents(way: None, weights: tuple[Tensor, Tensor]) -> None:
    coords = some_coords(resolution=5)
    fine = subdivide_coords(coords)
    feats, upstream, table = torch.randn(len(coords), 4), torch.randn(len(fine), 5), find_neighbours(coords)
    sparse = gradients(lambda x, w, b: subdivided_conv(x, w, b, table), upstream, feats, *weights)
    dense = gradients(lambda x, w, b: dense_conv(fine, subdivide(x), w, b), upstream, feats, *weights)
    for ours, theirs in zip(sparse, dense, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_autocast_lowers_the_precision_of_both_ways(way: None, weights: tuple[Tensor, Tensor]) -> None:
    coords = some_coords()
    feats, table = torch.randn(len(coords), 4, requires_grad=True), find_neighbours(coords)
    exact = submanifold_conv(feats, *weights, table)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = submanifold_conv(feats, *weights, table)
    assert rounded.dtype == torch.bfloat16
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    (ours,), (theirs,) = (torch.autograd.grad(out.sum(), feats) for out in (rounded, exact))
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_neighbours_of_children_follow_from_those_of_parents() -> None:
    coords = some_coords(resolution=5)
    derived = find_neighbours(coords).subdivide()
    searched = find_neighbours(subdivide_coords(coords))
    assert len(derived) == len(searched) == 8 * len(coords)
    assert directed_pairs(derived) == directed_pairs(searched)
    assert derived.counts == searched.counts
    grandchildren = derived.subdivide()
    # the searched table's rows are numbered by the same order of children
    assert torch.equal(derived.rows, searched.rows)
    assert torch.equal(grandchildren.rows, searched.subdivide().rows)
    assert grandchildren.filled == pytest.approx(
        (grandchildren.rows < len(grandchildren)).float().mean().item()
    )


def test_convolution_of_children_from_their_parents(way: None, weights: tuple[Tensor, Tensor]) -> None:
    coords = some_coords(resolution=5)
    feats, table = torch.randn(len(coords), 4), find_neighbours(coords)
    long_way = submanifold_conv(subdivide(feats), *weights, table.subdivide())
    torch.testing.assert_close(subdivided_conv(feats, *weights, table), long_way, **SUMS)


def test_half_precision_sums_are_kept_in_fp32(way: None) -> None:
    coords = some_coords(resolution=5, share=1.0)
    conv = SubmanifoldConv3d(64, 8)
    feats = torch.randn(len(coords), 64).bfloat16()
    table = find_neighbours(coords)
    with torch.no_grad():
        rounded = conv.to(torch.bfloat16)(feats, table)
        exact = submanifold_conv(feats.float(), conv.conv.weight.float(), conv.conv.bias.float(), table)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.02 * exact.abs().max()


def test_pointwise_weight_is_read_as_a_matrix_without_transposing() -> None:
    conv = PointwiseConv3d(3, 2)
    with torch.no_grad():
        conv.conv.weight.copy_(torch.arange(6.0).view(2, 1, 1, 1, 3))
        conv.conv.bias.zero_()
        out = conv(torch.eye(3))
    assert out.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
