"""Windowed attention is full attention with a mask between windows."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.layers.window_attention import attend_within, cut_into_windows, window_ids


def some_coords(count: int = 300, resolution: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randperm(resolution**3, generator=generator)[:count]
    return torch.stack([keys // resolution**2, keys // resolution % resolution, keys % resolution], 1)


def masked_attention(coords: Tensor, size: int, shift: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by one big attention, windows by plain floor division."""
    cell = torch.div(coords + shift, size, rounding_mode="floor")
    mask = (cell[:, None] == cell[None]).all(-1)
    heads = F.scaled_dot_product_attention(*(part.transpose(0, 1) for part in (q, k, v)), attn_mask=mask)
    return heads.transpose(0, 1)


@pytest.mark.parametrize(("size", "shift"), [(8, 0), (8, 4), (4, 2), (1, 0), (5, 2), (64, 0), (64, 32)])
def test_equals_full_attention_with_a_mask(size: int, shift: int) -> None:
    coords = some_coords()
    q, k, v = torch.randn(3, len(coords), 2, 8)
    out = attend_within(cut_into_windows(coords, size, shift), q, k, v)
    torch.testing.assert_close(out, masked_attention(coords, size, shift, q, k, v), atol=1e-5, rtol=1e-5)


def test_order_of_voxels_does_not_matter() -> None:
    coords = some_coords()
    q, k, v = torch.randn(3, len(coords), 2, 8)
    order = torch.randperm(len(coords))
    straight = attend_within(cut_into_windows(coords, 8, 4), q, k, v)
    shuffled = attend_within(cut_into_windows(coords[order], 8, 4), q[order], k[order], v[order])
    torch.testing.assert_close(shuffled, straight[order], atol=1e-5, rtol=1e-5)


def test_windows_hang_on_the_origin_of_the_grid_not_on_the_object() -> None:
    coords = torch.tensor([[7, 0, 0], [8, 0, 0], [11, 0, 0], [12, 0, 0]])
    even, odd = window_ids(coords, 8, 0), window_ids(coords, 8, 4)
    assert (even[:, None] == even).tolist()[1] == [False, True, True, True]
    assert (odd[:, None] == odd).tolist()[1] == [True, True, True, False]


def test_every_voxel_has_a_place_of_its_own_and_little_is_padded() -> None:
    coords = some_coords(count=2000)
    windows = cut_into_windows(coords, 8, 0)
    places = torch.cat([batch.rows.flatten() for batch in windows.batches])
    assert places[windows.places].tolist() == list(range(len(coords)))
    assert len(places) < 1.6 * len(coords)


def test_gradient_flows_through_windows() -> None:
    coords = some_coords(count=50)
    q, k, v = (part.requires_grad_() for part in torch.randn(3, len(coords), 1, 4).unbind())
    upstream = torch.randn(len(coords), 1, 4)
    windows = cut_into_windows(coords, 8, 4)
    ours = torch.autograd.grad((attend_within(windows, q, k, v) * upstream).sum(), (q, k, v))
    theirs = torch.autograd.grad((masked_attention(coords, 8, 4, q, k, v) * upstream).sum(), (q, k, v))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
