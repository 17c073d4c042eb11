"""The starter's text encoder: a sentence's tokens (B, L, C) -> a code -> a volume -> first guesses of both
latents.

A code says which object it is: coordinates along the principal components of the training objects' solids and
colours. A small flow draws one for the sentence. Of it a volume is made in two ways: the components' own
solid, coarse and smooth, and blocks that convolutions refine. It is to sentences what the lifting encoder is
to pictures: of the volume it makes logits of surface and solid and the surface's colours, from which both
latents follow. The volume is the unit cube, the object's front looks along −Y, up is +Z.

Dims: B batch · L tokens · C channels · K numbers of a code · r, R resolutions of the latents.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import parse_config, require
from backend.layers.dense_conv import DenseConv3d
from backend.lifting.code_prior import CodePrior, CodePriorConfig
from backend.lifting.image_encoder import ResBlock
from backend.lifting.occupancy import OccupancyGuess, OccupancyGuessConfig
from backend.lifting.solid import SolidGuess
from backend.lifting.surface import SurfaceGuess, SurfaceGuessConfig, shape_share
from backend.models.minilm_text import PUBLISHED
from backend.models.network import zero_
from backend.models.sparse_structure_flow import unpatchify

_COARSE = 8  # channels that the coarse solid gets before it joins the volume
_GROUPS = 8


@dataclass(frozen=True)
class LiftingTextConfig:
    """Sizes of the encoder; the fields are the keys of the checkpoint's JSON file.

    sentence_encoder: the published model whose tokens come in, cond_channels wide. resolution: of the
    structure's latent; the structured latent has twice that. shape_code, color_code: numbers of a code that
    tell of either. refine_channels: of the convolutions, on grids twice as fine each.
    """

    sentence_encoder: str = PUBLISHED
    cond_channels: int = 384
    resolution: int = 16
    shape_code: int = 192
    color_code: int = 64
    model_channels: int = 48
    refine_channels: tuple[int, ...] = (64, 48)
    color_hidden: int = 64
    prior: CodePriorConfig = CodePriorConfig()
    occupancy: OccupancyGuessConfig = OccupancyGuessConfig()
    surface: SurfaceGuessConfig = field(default_factory=SurfaceGuessConfig)

    @property
    def code(self) -> int:
        """Numbers of a code."""
        return self.shape_code + self.color_code

    @property
    def color_resolution(self) -> int:
        """Cells a side of the colours that a code holds."""
        return self.resolution // 2


@dataclass(frozen=True)
class TextStarts:
    """structure_start (B, Cz, r, r, r), normalised, and what each sentence tells of its object's solid."""

    structure_start: Tensor
    solids: tuple[SolidGuess, ...]


class _Refine(nn.Module):
    """(B, C_in, r, r, r) and codes (B, K) -> (B, C, 2r, 2r, 2r), read with `beside` (B, C', 2r, 2r, 2r)."""

    def __init__(self, channels_in: int, channels: int, code: int, beside: int = 0):
        super().__init__()
        self.split = nn.Conv3d(channels_in, 8 * channels, 1)
        self.modulation = _zero_linear(code, 2 * channels)
        self.block = ResBlock(nn.Conv3d, channels + beside, channels)

    def forward(self, x: Tensor, code: Tensor, beside: Tensor | None = None) -> Tensor:
        scale, shift = self.modulation(code)[:, :, None, None, None].chunk(2, dim=1)
        x = unpatchify(self.split(x), 2) * (1 + scale) + shift
        return self.block(x if beside is None else torch.cat([x, beside], dim=1))


class LiftingTextEncoder(nn.Module):
    """See the module docstring."""

    Config = LiftingTextConfig

    def __init__(self, config: LiftingTextConfig):
        super().__init__()
        self.config = config
        blocks, left = divmod(config.resolution, 2 ** len(config.refine_channels))
        require(
            blocks > 0 and left == 0,
            f"{type(self).__name__}: the resolution {config.resolution} cannot be halved once for each "
            "refine_channels.",
        )
        self.prior = CodePrior(config.code, config.cond_channels, config.prior)
        self.solid = nn.Linear(config.shape_code, config.resolution**3)
        self.coarse = nn.Conv3d(1, _COARSE, 3, padding=1)
        self.blocks = nn.Linear(config.code, config.model_channels * blocks**3)
        widths = (config.model_channels, *config.refine_channels)
        last = len(config.refine_channels) - 1
        self.refine = nn.ModuleList(
            _Refine(*pair, config.code, _COARSE if number == last else 0)
            for number, pair in enumerate(itertools.pairwise(widths))
        )
        self.structure_head = OccupancyGuess(widths[-1], config.occupancy)
        self.surface_head = SurfaceGuess(config.surface)
        self.tint = nn.Linear(config.color_code, 3 * config.color_resolution**3)
        # All of it works on the coarse cells, whose 2³ fine ones come out side by side: on the fine ones a
        # CPU's convolutions are eight times slower.
        hidden = config.color_hidden
        self.color_head = nn.Sequential(
            DenseConv3d(widths[-1] + 3, hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(hidden, 2 * hidden, 1),
            nn.SiLU(),
            nn.Conv3d(2 * hidden, 3 * 8, 1),
        )
        zero_(self.color_head[-1])

    @classmethod
    def from_args(cls, args: dict) -> LiftingTextEncoder:
        """Builds the module from a checkpoint's JSON arguments; UserError on an unknown or wrong field."""
        return cls(parse_config(cls.Config, args, cls.__name__))

    def forward(self, tokens: Tensor, noise: Tensor) -> TextStarts:
        """tokens (B, L, C), the last of which stands for the whole sentence · noise (B, K) decides which of
        the objects that it may mean.
        """
        code = self.prior.draw(self.sentence(tokens), noise)
        volume = self.volume(code)
        logits = self.structure_head.occupancy(volume)
        colors = self.colors(volume, code)
        share, inside, _ = shape_share(self.structure_head, self.surface_head, logits, colors.shape[-1])
        structure = self.structure_head(share)
        solids = zip(inside[:, 0], colors, structure.split(1), strict=True)
        return TextStarts(structure, tuple(SolidGuess(a, b, self.surface_head, c) for a, b, c in solids))

    def sentence(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, C), what the prior hears."""
        return F.layer_norm(tokens[:, -1].float(), tokens.shape[-1:])

    def volume(self, code: Tensor) -> Tensor:
        """Codes (B, K) -> (B, refine_channels[-1], r, r, r), of which both latents are made."""
        config = self.config
        solid = self.solid(code[:, : config.shape_code]).unflatten(1, (1, *(config.resolution,) * 3))
        size = config.resolution // 2 ** len(self.refine)
        volume = self.blocks(code).unflatten(1, (config.model_channels, size, size, size))
        *first, last = self.refine
        for refine in first:
            volume = refine(volume, code)
        return last(volume, code, self.coarse(solid))

    def colors(self, volume: Tensor, code: Tensor) -> Tensor:
        """Colour of the surface, were it there, in all voxels: (B, 3, 2r, 2r, 2r) in [−1, 1]."""
        size = self.config.color_resolution
        tint = self.tint(code[:, self.config.shape_code :]).unflatten(1, (3, size, size, size))
        # The volume's values are large, and would drown the few channels of the tint.
        cells = [F.group_norm(volume, _GROUPS), _finer(tint, 2)]
        fine = unpatchify(self.color_head(torch.cat(cells, dim=1)), 2)
        return (_finer(tint, 4) + fine).float().clamp(-1, 1)


def _finer(field: Tensor, factor: int) -> Tensor:
    return F.interpolate(field, scale_factor=factor, mode="trilinear")


def _zero_linear(channels_in: int, channels: int) -> nn.Linear:
    layer = nn.Linear(channels_in, channels)
    zero_(layer)
    return layer
