"""The starter's text encoder: a sentence's tokens (B, L, C) -> a volume -> first guesses of both latents.

Blocks of the volume are the tokens of a small transformer that attends to the words and is modulated by the
sentence; convolutions refine them to cells. It is to sentences what the lifting encoder is to pictures: of
the volume it makes logits of surface and solid and the surface's colours, from which both latents follow. The
volume is the unit cube, the object's front looks along −Y, up is +Z.

Dims: B batch · L tokens · C channels · r, R resolutions of the latents.
"""

import itertools
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import require, resolve_heads
from backend.layers.dense_conv import DenseConv3d
from backend.layers.embedding import absolute_position_embedding, grid_coordinates
from backend.layers.stack import Stack
from backend.layers.transformer import ModulatedCrossBlock, modulation
from backend.lifting.image_encoder import ResBlock
from backend.lifting.occupancy import OccupancyGuess, OccupancyGuessConfig
from backend.lifting.solid import SolidGuess
from backend.lifting.surface import SurfaceGuess, SurfaceGuessConfig, shape_share
from backend.models.minilm_text import PUBLISHED
from backend.models.network import Network, xavier_linears_, zero_
from backend.models.sparse_structure_flow import unpatchify

_GROUPS = 8


@dataclass(frozen=True)
class LiftingTextConfig:
    """Sizes of the encoder; the fields are the keys of the checkpoint's JSON file.

    sentence_encoder: the published model whose tokens come in, cond_channels wide. resolution: of the
    structure's latent; the structured latent has twice that. refine_channels: of the convolutions, on grids
    twice as fine each. color_channels: what the colours hear of the sentence beside the volume.
    """

    sentence_encoder: str = PUBLISHED
    cond_channels: int = 384
    resolution: int = 16
    model_channels: int = 128
    num_blocks: int = 4
    num_head_channels: int = 32
    mlp_ratio: float = 2
    refine_channels: tuple[int, ...] = (96, 48)
    color_channels: int = 8
    color_hidden: int = 64
    occupancy: OccupancyGuessConfig = OccupancyGuessConfig()
    surface: SurfaceGuessConfig = SurfaceGuessConfig()


@dataclass(frozen=True)
class TextStarts:
    """structure_start (B, Cz, r, r, r), normalised, and what each sentence tells of its object's solid."""

    structure_start: Tensor
    solids: tuple[SolidGuess, ...]


class _Refine(nn.Module):
    """(B, C_in, r, r, r) -> (B, C, 2r, 2r, 2r)."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.split = nn.Conv3d(channels_in, 8 * channels, 1)
        self.block = ResBlock(nn.Conv3d, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(unpatchify(self.split(x), 2))


class LiftingTextEncoder(Network[LiftingTextConfig]):
    """See the module docstring."""

    Config = LiftingTextConfig
    torso = (
        "sentence",
        "modulation",
        "blocks",
        "refine",
        "color",
        "color_head",
        "structure_head",
        "surface_head",
    )
    pos_emb: Tensor

    def __init__(self, config: LiftingTextConfig):
        super().__init__(config)
        blocks, left = divmod(config.resolution, 2 ** len(config.refine_channels))
        channels, name = config.model_channels, type(self).__name__
        require(
            blocks > 0 and left == 0,
            f"{name}: the resolution {config.resolution} cannot be halved once for each refine_channels.",
        )
        heads = resolve_heads(channels, None, config.num_head_channels, name)
        coords = grid_coordinates(blocks)
        self.register_buffer("pos_emb", absolute_position_embedding(coords, channels))
        self.sentence = nn.Linear(config.cond_channels, channels)
        self.modulation = modulation(channels)
        self.blocks = Stack(
            ModulatedCrossBlock(
                channels, config.cond_channels, heads, config.mlp_ratio, qk_rms_norm=True, share_mod=True
            )
            for _ in range(config.num_blocks)
        )
        widths = (channels, *config.refine_channels)
        self.refine = nn.ModuleList(_Refine(*pair) for pair in itertools.pairwise(widths))
        xavier_linears_(self)
        zero_(self.modulation)
        self.structure_head = OccupancyGuess(widths[-1], config.occupancy)
        self.surface_head = SurfaceGuess(config.surface)
        self.color = nn.Linear(config.cond_channels, config.color_channels)
        # All of it works on the coarse cells, whose 2³ fine ones come out side by side: on the fine ones a
        # CPU's convolutions are eight times slower.
        hidden = config.color_hidden
        self.color_head = nn.Sequential(
            DenseConv3d(widths[-1] + config.color_channels, hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(hidden, 2 * hidden, 1),
            nn.SiLU(),
            nn.Conv3d(2 * hidden, 3 * 8, 1),
        )

    def forward(self, tokens: Tensor) -> TextStarts:
        """tokens (B, L, C), the last of which stands for the whole sentence."""
        volume = self.volume(tokens)
        logits = self.structure_head.occupancy(volume)
        colors = self.colors(volume, tokens)
        share, inside = shape_share(self.structure_head, self.surface_head, logits, colors.shape[-1])
        structure = self.structure_head(share)
        solids = zip(inside[:, 0], colors, structure.split(1), strict=True)
        return TextStarts(structure, tuple(SolidGuess(a, b, self.surface_head, c) for a, b, c in solids))

    def to_precision(self, dtype: torch.dtype) -> Self:
        """As for all networks; but the two guesses, whose weights files hold in half, compute in fp32.

        They are frozen encoders for the most part, which keep a precision of their own, and little work.
        """
        super().to_precision(dtype)
        for guess in (self.structure_head, self.surface_head):
            guess.float()
        return self

    def volume(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, refine_channels[-1], r, r, r) f32, of which both latents are made."""
        tokens = self._normalised(tokens)
        sentence = self.sentence(tokens[:, -1])
        mod = self.modulation(sentence)
        h = sentence[:, None] + self.pos_emb.to(self.dtype)
        for block in self.blocks:
            h = block(h, mod, block.cross_attn.keys_values(tokens))
        size = self.config.resolution // 2 ** len(self.refine)
        volume = F.layer_norm(h, h.shape[-1:]).transpose(1, 2).unflatten(2, (size,) * 3)
        for refine in self.refine:
            volume = refine(volume)
        return volume.float()

    def colors(self, volume: Tensor, tokens: Tensor) -> Tensor:
        """Colour of the surface, were it there, in all voxels: (B, 3, 2r, 2r, 2r) f32 in [−1, 1]."""
        # The volume is taught the shape alone, so that colours come from the sentence again.
        color = self.color(self._normalised(tokens)[:, -1])[:, :, None, None, None]
        # Its values are large, and would drown the few channels of the sentence.
        volume = F.group_norm(volume, _GROUPS).to(color.dtype)
        cells = torch.cat([volume, color.expand(-1, -1, *volume.shape[2:])], dim=1)
        return unpatchify(self.color_head(cells).float(), 2).tanh()

    def _normalised(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens.float(), tokens.shape[-1:]).to(self.dtype)
