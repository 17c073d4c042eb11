"""Outputs on their way out: whatever holds values that are no numbers is refused, all else goes through."""

import dataclasses
import math

import pytest
import torch

from backend.errors import UserError
from backend.representations.gaussians import Gaussians
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField
from backend.trellis.decoding import StructuredLatent, Voxels
from backend.trellis.outputs import checked, describe

N = 5


def numbers(*shape: int) -> torch.Tensor:
    """Within [0.1, 0.9], the same every time."""
    return 0.1 + 0.8 * torch.rand(shape, generator=torch.Generator().manual_seed(1))


MESH = Mesh(numbers(N, 3), torch.tensor([[0, 1, 2], [2, 3, 4]]), numbers(N, 3))
GAUSSIANS = Gaussians(numbers(N, 3), numbers(N, 3), numbers(N, 1), numbers(N, 3), numbers(N, 4))
FIELD = RadianceField(
    numbers(N, 3),
    torch.zeros(N, 1, dtype=torch.uint8),
    numbers(N, 2, 3, 4),
    numbers(N, 2),
    numbers(N, 2, 1, 3),
)


def spoilt(part, name: str, value: float):
    """A copy in which one number of one attribute is `value`."""
    values = getattr(part, name).clone()
    values[3].view(-1)[0] = value
    return dataclasses.replace(part, **{name: values})


COORDS = torch.zeros(N, 3, dtype=torch.int32)
LATENT = StructuredLatent(COORDS, numbers(N, 8), 4)


@pytest.mark.parametrize(
    "part",
    [MESH, GAUSSIANS, FIELD, LATENT, numbers(1, 8, 4, 4, 4), Voxels(COORDS, 4, torch.ones(4, 4, 4) > 0)],
)
def test_sound_parts_go_through(part):
    assert checked(part) is part


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "part, name",
    [
        *((MESH, name) for name in ("vertices", "colors")),
        *((GAUSSIANS, name) for name in ("position", "color_dc", "scale", "rotation")),
        (LATENT, "feats"),
        *((FIELD, name) for name in ("position", "trivec", "density", "features_dc")),
    ],
)
def test_one_value_that_is_no_number_is_enough(part, name, value):
    if name == "scale" and value < 0:
        value = math.nan  # a scale of less than nothing is stored as the smallest one
    with pytest.raises(UserError, match="no numbers: its weights are damaged.*fp32"):
        describe(spoilt(part, name, value))


def test_a_direction_an_opacity_and_a_structure_must_be_numbers():
    still = dataclasses.replace(
        GAUSSIANS, rotation=GAUSSIANS.rotation * torch.tensor([1, 1, 1, 0, 1.0])[:, None]
    )
    for part in (still, spoilt(GAUSSIANS, "opacity", math.nan), torch.full((1, 8, 4, 4, 4), math.nan)):
        with pytest.raises(UserError, match="no numbers"):
            describe(part)


def test_half_precision_overflows_are_seen():
    vertices = MESH.vertices.half() * 1e6
    assert not vertices.isfinite().all()
    with pytest.raises(UserError, match="no numbers"):
        describe(dataclasses.replace(MESH, vertices=vertices))
