"""Flow transformer of the sparse structure (paper 3.3): noisy latent 16^3, time and condition -> velocity.

Attribute names are dictated by the published checkpoints.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import require
from backend.layers.embedding import absolute_position_embedding, grid_coordinates
from backend.models.flow_transformer import Context, FlowConfig, FlowTransformer, TimeModulation


def patchify(x: Tensor, size: int) -> Tensor:
    """Volume (B, C, X, Y, Z) -> (B, C * size^3, X/size, Y/size, Z/size).

    Within the new channels the old channel is slowest, then x, y, z of the patch.
    """
    batch, channels, *extents = x.shape
    split = [part for extent in extents for part in (extent // size, size)]
    x = x.view(batch, channels, *split).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(batch, channels * size**3, *(extent // size for extent in extents))


def unpatchify(x: Tensor, size: int) -> Tensor:
    """The reverse of `patchify`."""
    batch, channels, *extents = x.shape
    x = x.view(batch, channels // size**3, size, size, size, *extents).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(batch, channels // size**3, *(extent * size for extent in extents))


class SparseStructureFlowModel(FlowTransformer[FlowConfig]):
    """Rectified-flow transformer over the tokens of a dense latent."""

    Config = FlowConfig
    torso = ("blocks",)
    pos_emb: Tensor

    def __init__(self, config: FlowConfig):
        super().__init__(config)
        patch, channels = config.patch_size, config.model_channels
        require(
            patch > 0 and config.resolution % patch == 0,
            f"SparseStructureFlowModel: patch_size {patch} must divide the resolution {config.resolution}.",
        )
        coords = grid_coordinates(config.resolution // patch)
        self.register_buffer("pos_emb", absolute_position_embedding(coords, channels))
        self.input_layer = nn.Linear(config.in_channels * patch**3, channels)
        self.out_layer = nn.Linear(channels, config.out_channels * patch**3)
        self.initialise_(self.out_layer)

    def forward(self, x: Tensor, t: Tensor | TimeModulation, context: Context) -> Tensor:
        """x (B, in_channels, R, R, R), t (B,) times 1000 or as `timetable` holds it -> velocity, likewise."""
        patch = self.config.patch_size
        tokens = patchify(x, patch)
        h = self.input_layer(tokens.flatten(2).transpose(1, 2)) + self.pos_emb
        h = self.run_blocks(h.to(self.dtype), self.embed_time(t), context).to(x.dtype)
        velocity = self.out_layer(F.layer_norm(h, h.shape[-1:]))
        return unpatchify(velocity.transpose(1, 2).unflatten(2, tokens.shape[2:]), patch)
