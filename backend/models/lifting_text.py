"""The starter's text encoder: a sentence's tokens (B, L, C) -> first guesses of both latents.

Patches of the structure's latent are the tokens of a small transformer that attends to the words and is modulated
by the sentence; convolutions then join the patches. It is to sentences what the lifting encoder is to pictures:
the object's front looks at the camera, on −Y, up is +Z. Dims: B batch · L tokens · C channels · R resolution.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from backend.layers.embedding import absolute_position_embedding, grid_coordinates
from backend.layers.stack import Stack
from backend.layers.transformer import ModulatedCrossBlock, modulation
from backend.models.config import require, resolve_heads
from backend.models.lifting_encoder import ResBlock
from backend.models.minilm_text import PUBLISHED
from backend.models.network import Network, xavier_linears_, zero_
from backend.models.sparse_structure_flow import unpatchify


@dataclass(frozen=True)
class LiftingTextConfig:
    """Sizes of the encoder; the fields are the keys of the checkpoint's JSON file.

    sentence_encoder: the published model whose tokens come in, cond_channels wide.
    """

    sentence_encoder: str = PUBLISHED
    cond_channels: int = 384
    model_channels: int = 160
    num_blocks: int = 4
    num_head_channels: int = 32
    mlp_ratio: float = 2
    patch_size: int = 4
    volume_channels: int = 24
    volume_resolution: int = 16
    structure_channels: int = 8
    latent_channels: int = 8
    latent_hidden: int = 16


@dataclass(frozen=True)
class TextStarts:
    """structure_start (B, Cz, r, r, r) and latent_start (B, 8, 2r, 2r, 2r), both normalised."""

    structure_start: Tensor
    latent_start: Tensor


class LiftingTextEncoder(Network[LiftingTextConfig]):
    """See the module docstring."""

    Config = LiftingTextConfig
    torso = (
        "sentence",
        "modulation",
        "blocks",
        "out_layer",
        "volume_block",
        "structure_head",
        "latent_expand",
        "latent_block",
        "latent_head",
    )
    pos_emb: Tensor

    def __init__(self, config: LiftingTextConfig):
        super().__init__(config)
        patch, channels, volume = config.patch_size, config.model_channels, config.volume_channels
        require(
            patch > 0 and config.volume_resolution % patch == 0,
            f"LiftingTextEncoder: patch_size {patch} must divide the resolution {config.volume_resolution}.",
        )
        heads = resolve_heads(channels, None, config.num_head_channels, "LiftingTextEncoder")
        coords = grid_coordinates(config.volume_resolution // patch)
        self.register_buffer("pos_emb", absolute_position_embedding(coords, channels))
        self.sentence = nn.Linear(config.cond_channels, channels)
        self.modulation = modulation(channels)
        self.blocks = Stack(
            ModulatedCrossBlock(channels, config.cond_channels, heads, config.mlp_ratio, True, share_mod=True)
            for _ in range(config.num_blocks)
        )
        self.out_layer = nn.Linear(channels, volume * patch**3)
        xavier_linears_(self)
        zero_(self.modulation)
        self.volume_block = ResBlock(nn.Conv3d, volume, volume)
        self.structure_head = _head(volume, config.structure_channels)
        self.latent_expand = nn.Conv3d(volume, config.latent_hidden * 8, 1)
        self.latent_block = ResBlock(nn.Conv3d, config.latent_hidden, config.latent_hidden)
        self.latent_head = _head(config.latent_hidden, config.latent_channels)

    def forward(self, tokens: Tensor) -> TextStarts:
        """tokens (B, L, C), the last of which stands for the whole sentence."""
        volume = self.volume(tokens)
        return TextStarts(self.structure_head(volume).float(), self.latent(volume).float())

    def volume(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, volume_channels, r, r, r), of which everything else is made."""
        tokens = F.layer_norm(tokens.float(), tokens.shape[-1:]).to(self.dtype)
        sentence = self.sentence(tokens[:, -1])
        mod = self.modulation(sentence)
        h = sentence[:, None] + self.pos_emb.to(self.dtype)
        for block in self.blocks:
            h = block(h, mod, block.cross_attn.keys_values(tokens))
        h = self.out_layer(F.layer_norm(h, h.shape[-1:]))
        size = self.config.volume_resolution // self.config.patch_size
        cells = unpatchify(h.transpose(1, 2).unflatten(2, (size,) * 3), self.config.patch_size)
        return self.volume_block(cells)

    def latent(self, volume: Tensor) -> Tensor:
        """First guess of the structured latent in the whole volume: (B, 8, 2r, 2r, 2r), normalised."""
        return self.latent_head(self.latent_block(unpatchify(self.latent_expand(volume), 2)))


def _head(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(8, channels_in), nn.SiLU(), nn.Conv3d(channels_in, channels, 3, padding=1)
    )
