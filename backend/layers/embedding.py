"""Numbers that tell a network where (voxel coordinates) and when (time of the flow) it is."""

import math

import torch
from torch import Tensor, nn

FREQUENCIES = 256


def absolute_position_embedding(coords: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of each axis in turn: coords (L, 3) integer voxels -> (L, channels) fp32.

    Channels that three axes cannot share evenly are zeros at the end.
    """
    per_axis = channels // 3 // 2
    exponents = torch.arange(per_axis, dtype=torch.float32, device=coords.device) / per_axis
    frequencies = 1.0 / (10000.0**exponents)
    angles = coords.float()[:, :, None] * frequencies
    embedding = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return nn.functional.pad(embedding, (0, channels - embedding.shape[1]))


def grid_coordinates(resolution: int) -> Tensor:
    """All voxels of a grid with x slowest and z fastest: (R^3, 3) int64, on the processor.

    Modules are made on the meta device, where torch imports its compiler for this, which takes seconds.
    """
    axis = torch.arange(resolution, device="cpu")
    return torch.cartesian_prod(axis, axis, axis)


def timestep_frequencies(t: Tensor) -> Tensor:
    """Cosines, then sines, of a time already multiplied by 1000: (B,) -> (B, 256) fp32."""
    half = FREQUENCIES // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(10000.0) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedder(nn.Module):
    """Time of the flow -> modulation vector: (B,) -> (B, C), always fp32."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, channels), nn.SiLU(), nn.Linear(channels, channels))

    def initialise_(self) -> None:
        """Start values of the published networks; none on the meta device, as above."""
        for layer in self.mlp:
            if isinstance(layer, nn.Linear) and not layer.weight.is_meta:
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(timestep_frequencies(t))
