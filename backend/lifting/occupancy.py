"""From a volume of features to a latent of the sparse structure, by way of the occupancy itself.

Occupancy is what a volume can be taught directly and cheaply; the structure encoder then says which latent
stands for it. Two are guessed: the voxels that the surface crosses, which are the structure, and the solid
that it encloses, whose border says where in a broad band of doubt the surface most likely is.
Dims: B batch · C channels · r volume resolution · R structure resolution.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from backend.config import require
from backend.models.sparse_structure_vae import EncoderConfig, SparseStructureEncoder

_CUTS = (0.05, 0.6, 23)


def _starter_encoder() -> EncoderConfig:
    return EncoderConfig(
        in_channels=1, latent_channels=8, num_res_blocks=0, channels=(8, 32, 64), num_res_blocks_middle=1
    )


@dataclass(frozen=True)
class OccupancyGuessConfig:
    """block: voxels a side of the cube that a cell of the volume tells of. encoder: the structure encoder's.

    recall: what a flow starts from has voxels above this share of the probability where the overlap is best;
    below 1 it rather keeps what is in doubt. sharpness: how fast it goes from empty to occupied there, in
    logits. border_odds: what multiplies a voxel's odds where the probability of the solid crosses
    `border_level`. counted_recall, counted_level: the same for the voxels that count where a sample agrees
    with its start.
    """

    block: int = 4
    recall: float = 0.9
    sharpness: float = 10.0
    border_level: float = 0.35
    border_odds: float = 2.0
    counted_recall: float = 1.1
    counted_level: float = 0.15
    encoder: EncoderConfig = field(default_factory=_starter_encoder)


class OccupancyGuess(nn.Module):
    """See the module docstring."""

    def __init__(self, channels: int, config: OccupancyGuessConfig):
        super().__init__()
        self.config = config
        stride = 2 ** (len(config.encoder.channels) - 1)
        require(
            config.block == stride,
            f"The structure encoder makes a cell of {stride}³ voxels, the guess of {config.block}³.",
        )
        self.head = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv3d(channels, 2 * config.block**3, 1)
        )
        self.encoder = SparseStructureEncoder(config.encoder).requires_grad_(False)

    def occupancy(self, volume: Tensor) -> Tensor:
        """(B, C, r, r, r) -> logits of surface and solid (B, 2, R, R, R), R = block · r."""
        side, r = self.config.block, volume.shape[-1]
        x = self.head(volume).float().unflatten(1, (2, side, side, side))
        return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(x), 2, *(r * side,) * 3)

    def forward(self, share: Tensor) -> Tensor:
        """How far voxels are occupied (B, 1, R, R, R) -> the structure latent (B, Cz, r, r, r)."""
        return self.encoder(share)[0].float()

    def share(self, surface: Tensor, border: Tensor) -> Tensor:
        """Logits of the surface and where the solid's border is (B, 1, R, R, R) -> how far voxels are full,
        half at the cut.
        """
        return torch.sigmoid(self.config.sharpness * self._above_cut(surface, border, self.config.recall))

    def counted(self, surface: Tensor, border: Tensor) -> Tensor:
        """The same -> the voxels (B, 1, R, R, R) bool whose overlap with the true ones is likely the best."""
        return self._above_cut(surface, border, self.config.counted_recall) > 0

    def _above_cut(self, surface: Tensor, border: Tensor, recall: float) -> Tensor:
        cut = torch.logit(recall * self.cut(surface).sigmoid())
        return surface + math.log(self.config.border_odds) * border - cut

    @torch.no_grad()
    def cut(self, logits: Tensor) -> Tensor:
        """Above which logit a voxel counts as occupied: (B, 1, …), as many dimensions as `logits` (B, …).

        No guess from one picture is sure of itself, and some are less so than others: each is cut where, by
        its own probabilities, twice the overlap over the sum of both sizes (Dice) is best.
        """
        probability = logits.sigmoid().flatten(1)
        total = probability.sum(1)
        cuts = torch.linspace(*_CUTS, device=logits.device)
        overlaps = []
        for value in cuts:
            above = probability > value
            overlaps.append(2 * (probability * above).sum(1) / (above.sum(1) + total))
        best = cuts[torch.stack(overlaps).argmax(0)]
        return torch.logit(best).view(-1, *[1] * (logits.ndim - 1))
