"""A recipe whose networks train in seconds: 16³ voxels, an 8³ structure latent, a picture of 32²."""

from dataclasses import replace

from torch import nn

from backend.config import parse_config
from backend.lifting.image_encoder import LiftingEncoderConfig
from backend.lifting.occupancy import OccupancyGuessConfig
from backend.lifting.surface import SurfaceGuessConfig
from backend.models.sparse_structure_vae import EncoderConfig
from backend.models.structured_latent_vae import SLatEncoderConfig
from backend.training.loop import LoopConfig
from backend.training.starter.recipe import Recipe

_SMALL = {"resolution": 16, "model_channels": 32, "num_blocks": 1, "num_head_channels": 16, "mlp_ratio": 1}


def tiny_recipe(**changes: object) -> Recipe:
    recipe = Recipe()
    latent_encoder = {**recipe.latent_encoder, **_SMALL}
    loop = LoopConfig(steps=3, learning_rate=2e-3, warm_up=1, log_every=1, bfloat16=False)
    tiny = replace(
        recipe,
        structure_resolution=16,
        structure_crop=8,
        resolution=16,
        structure_encoder={**recipe.structure_encoder, "channels": [8, 16]},
        structure_decoder={**recipe.structure_decoder, "channels": [16, 8]},
        structure_batch=2,
        lifting=LiftingEncoderConfig(
            image_size=32,
            plane_channels=(16, 16, 16, 16),
            volume_channels=(16, 16, 16),
            volume_blocks=(1, 1, 2),
            volume_resolution=8,
            color_hidden=8,
            picture_tokens=2,
            cond_channels=64,
            occupancy=OccupancyGuessConfig(block=2, encoder=EncoderConfig(1, 8, 0, (8, 16), 1)),
            surface=SurfaceGuessConfig(encoder=parse_config(SLatEncoderConfig, latent_encoder, "encoder")),
        ),
        lifting_batch=2,
        latent_encoder=latent_encoder,
        mesh_decoder={**recipe.mesh_decoder, **_SMALL, "model_channels": 256},
        gaussian_decoder={**recipe.gaussian_decoder, **_SMALL},
        latent_voxels=40,
        structure_flow={
            **recipe.structure_flow,
            **_SMALL,
            "resolution": 8,
            "cond_channels": 64,
            "aligned_channels": 24,
        },
        prior_steps=2,
        structure_flow_batch=2,
        latent_flow={
            **recipe.latent_flow,
            **_SMALL,
            "cond_channels": 64,
            "io_block_channels": [16],
            "aligned_channels": 25,
        },
        latent_flow_batch=1,
        loops={name: loop for name in recipe.loops},
    )
    return replace(tiny, **changes)


def awakened(module: nn.Module) -> nn.Module:
    """The module with random numbers everywhere: layers that start at zero would hide what they do."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.15)
    return module
