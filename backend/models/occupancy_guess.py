"""From a volume of features to a latent of the sparse structure, by way of the occupancy itself.

Occupancy is what a volume can be taught directly and cheaply; the structure encoder then says which latent stands
for it. Dims: B batch · C channels · r volume resolution · R structure resolution.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from backend.models.config import require
from backend.models.sparse_structure_vae import EncoderConfig, SparseStructureEncoder


def _starter_encoder() -> EncoderConfig:
    return EncoderConfig(
        in_channels=1, latent_channels=8, num_res_blocks=0, channels=(8, 32, 64), num_res_blocks_middle=1
    )


@dataclass(frozen=True)
class OccupancyGuessConfig:
    """block: voxels a side of the cube that one cell of the volume tells of. encoder: the structure encoder's.

    A voxel counts as occupied above the logit −shift, for guesses from one picture are never sure; sharpness is
    how fast it goes from empty to occupied there.
    """

    block: int = 4
    shift: float = 1.75
    sharpness: float = 3.0
    encoder: EncoderConfig = field(default_factory=_starter_encoder)


class OccupancyGuess(nn.Module):
    """See the module docstring."""

    def __init__(self, channels: int, resolution: int, config: OccupancyGuessConfig):
        super().__init__()
        self.config = config
        stride = 2 ** (len(config.encoder.channels) - 1)
        require(
            config.block == stride,
            f"The structure encoder makes one cell of {stride}³ voxels, the occupancy guess of {config.block}³.",
        )
        self.head = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv3d(channels, config.block**3, 1)
        )
        self.encoder = SparseStructureEncoder(config.encoder).requires_grad_(False)

    def occupancy(self, volume: Tensor) -> Tensor:
        """(B, C, r, r, r) -> logits (B, 1, R, R, R), R = block · r."""
        side, r = self.config.block, volume.shape[-1]
        x = self.head(volume).float().unflatten(1, (side, side, side))
        return x.permute(0, 4, 1, 5, 2, 6, 3).reshape(len(x), 1, *(r * side,) * 3)

    def forward(self, logits: Tensor) -> Tensor:
        """Logits (B, 1, R, R, R) -> the structure latent (B, Cz, r, r, r)."""
        soft = torch.sigmoid(self.config.sharpness * (logits + self.config.shift))
        return self.encoder(soft)[0].float()
