"""The radiance field: channel layout, and density and colour worked out by hand."""

import math

import pytest
import torch

from backend.errors import UserError
from backend.representations.radiance_field import (
    SH_C0,
    RadianceField,
    RadianceFieldConfig,
    decode_radiance_field,
    query,
)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_the_official_channels():
    config = RadianceFieldConfig.from_json({"rank": 16, "dim": 8}, 64)
    assert config.layout == {
        "trivec": slice(0, 384),
        "density": slice(384, 400),
        "features_dc": slice(400, 448),
    }


def test_an_untrained_decoder_gives_a_constant_field():
    config = RadianceFieldConfig.from_json({"rank": 4, "dim": 8}, 64)
    field = decode_radiance_field(torch.tensor([[0, 31, 63]]), torch.zeros(1, 112), config)
    torch.testing.assert_close(field.position, torch.tensor([[0.5, 31.5, 63.5]]) / 64)
    assert field.depth.tolist() == [[6]] and field.depth.dtype == torch.uint8
    assert (field.trivec == 1).all() and field.trivec.shape == (1, 4, 3, 8)
    inside = torch.tensor([[0.2, 31.9, 63.5], [0.99, 31.01, 63.01]]) / 64 - 0.5
    density, color = query(field, inside)
    torch.testing.assert_close(density, torch.full((2,), softplus(0)))
    torch.testing.assert_close(color, torch.full((2, 3), 0.5))


def test_channels_are_rank_major_then_axis_then_sample():
    config = RadianceFieldConfig(resolution=4, rank=2, dim=3)
    raw = torch.arange(26.0)[None]
    field = decode_radiance_field(torch.tensor([[0, 0, 0]]), raw, config)
    assert field.trivec[0, 1, 0].tolist() == [10, 11, 12]
    assert field.density[0].tolist() == [18, 19]
    assert field.features_dc[0, 1, 0].tolist() == [23, 24, 25]


def one_voxel(trivec: torch.Tensor) -> RadianceField:
    """The whole cube as one voxel."""
    return RadianceField(
        position=torch.full((1, 3), 0.5),
        depth=torch.zeros(1, 1, dtype=torch.uint8),
        trivec=trivec,
        density=torch.tensor([[2.0]]),
        features_dc=torch.tensor([[[[1.0, -1.0, 0.0]]]]),
    )


@pytest.mark.parametrize(
    ("x", "factor"),
    [(-0.375, 1.0), (-0.25, 1.5), (0.125, 5.0), (0.375, 11.0), (0.5, 13.0), (-0.5, 0.5)],
)
def test_between_samples_and_beyond_the_outer_ones(x, factor):
    """Four samples 1, 2, 5, 11... along x at the middles of four parts; outside of them the lines go on."""
    samples = torch.ones(1, 1, 3, 4)
    samples[0, 0, 0] = torch.tensor([1.0, 2.0, 5.0, 11.0])
    point = torch.tensor([[min(x, 0.5 - 1e-7), 0.1, -0.2]])
    factor = 11.0 + 3.0 if x == 0.5 else factor
    density, color = query(one_voxel(samples), point)
    assert float(density) == pytest.approx(softplus(2 * factor), rel=1e-5)
    expected = [1 / (1 + math.exp(-SH_C0 * factor * feature)) for feature in (1, -1, 0)]
    assert color[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_factors_multiply_over_axes_and_add_over_ranks():
    field = RadianceField(
        position=torch.full((1, 3), 0.5),
        depth=torch.zeros(1, 1, dtype=torch.uint8),
        trivec=torch.tensor([2.0, 3.0, 5.0, 1.0, 1.0, 0.5]).reshape(1, 2, 3, 1).expand(-1, -1, -1, 2),
        density=torch.tensor([[0.1, 4.0]]),
        features_dc=torch.zeros(1, 2, 1, 3),
    )
    density, _ = query(field, torch.zeros(1, 3))
    assert float(density) == pytest.approx(softplus(0.1 * 30 + 4 * 0.5), rel=1e-6)


def test_outside_of_all_voxels_there_is_nothing():
    config = RadianceFieldConfig(resolution=4, rank=1, dim=2)
    coords = torch.tensor([[3, 0, 0], [1, 1, 1], [0, 3, 2]])  # in any order
    field = decode_radiance_field(coords, torch.arange(30.0).reshape(3, 10) / 10, config)
    centres = field.position - 0.5
    density, _ = query(field, centres)
    factors = field.trivec.mean(-1).prod(-1)[:, 0]
    torch.testing.assert_close(density, torch.nn.functional.softplus(field.density[:, 0] * factors))
    outside = torch.tensor([[0.0, 0.0, 0.3], [0.9, 0.0, 0.0], [-0.6, -0.125, -0.125], [0.5, 0.2, 0.2]])
    density, color = query(field, outside)
    assert not density.any() and not color.any()
    empty = decode_radiance_field(coords[:0], torch.zeros(0, 10), config)
    assert not query(empty, outside)[0].any()


@pytest.mark.parametrize("change", [{"ranks": 3}, {"resolution": 64}, {"rank": 0}, {"dim": 1}])
def test_a_configuration_that_is_not_understood(change):
    with pytest.raises(UserError, match="radiance-field decoder"):
        RadianceFieldConfig.from_json({"rank": 16, "dim": 8, **change}, 64)
