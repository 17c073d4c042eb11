"""The sizes and budgets of the starter model: one frozen value that every part reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.models.lifting_encoder import LiftingEncoderConfig
from backend.training.dataset import FEATURES
from backend.training.loop import LoopConfig


def _structure_coder(widths: list[int], **ends: int) -> dict:
    # No residual blocks at the fine resolutions: on a CPU they cost more than all the rest and gain little.
    return {"latent_channels": 8, "num_res_blocks": 0, "num_res_blocks_middle": 1, "channels": widths, **ends}


def _trunk(channels: int, blocks: int, mlp_ratio: float) -> dict:
    return {
        "resolution": 32,
        "model_channels": channels,
        "latent_channels": 8,
        "num_blocks": blocks,
        "num_head_channels": 32,
        "mlp_ratio": mlp_ratio,
    }


def _flow(resolution: int, channels: int, blocks: int, mlp_ratio: float) -> dict:
    return {
        "resolution": resolution,
        "in_channels": 8,
        "out_channels": 8,
        "model_channels": channels,
        "cond_channels": 256,
        "num_blocks": blocks,
        "num_head_channels": 32,
        "mlp_ratio": mlp_ratio,
        "patch_size": 2,
        "qk_rms_norm": True,
    }


@dataclass(frozen=True)
class Recipe:
    """Constructor arguments of all networks (published field names), batch sizes, loss weights and
    schedules.
    """

    structure_resolution: int = 64
    resolution: int = 32  # of the structured latent, whose voxels are the structure's, pooled
    picture_size: int = 128
    structure_encoder: dict = field(default_factory=lambda: _structure_coder([8, 32, 64], in_channels=1))
    structure_decoder: dict = field(default_factory=lambda: _structure_coder([64, 16, 8], out_channels=1))
    structure_batch: int = 24
    structure_crop: int = 32
    structure_kl: float = 1e-3
    lifting: LiftingEncoderConfig = LiftingEncoderConfig()
    lifting_batch: int = 8
    lifting_decoded: int = 2  # of a batch go through the structure autoencoder, which is slow at 64³
    lifting_head_weight: float = 0.1
    structure_decoder_batch: int = 4
    latent_start_batch: int = 4
    latent_encoder: dict = field(default_factory=lambda: {**_trunk(128, 2, 2), "in_channels": FEATURES})
    mesh_decoder: dict = field(
        default_factory=lambda: {**_trunk(256, 2, 2), "representation_config": {"use_color": True}}
    )
    gaussian_decoder: dict = field(
        default_factory=lambda: {
            **_trunk(128, 2, 2),
            "representation_config": {
                "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
                "perturb_offset": True,
                "voxel_size": 1.5,
                "num_gaussians": 8,
                "2d_filter_kernel_size": 0.1,
                "3d_filter_kernel_size": 9e-4,
                "scaling_bias": 8e-3,
                "opacity_bias": 0.1,
                "scaling_activation": "softplus",
            },
        }
    )
    latent_voxels: int = 160
    latent_pool: int = 1500
    latent_kl: float = 1e-4
    guessed_shift: tuple[float, float] = (0.5, 1.75)
    structure_flow: dict = field(default_factory=lambda: _flow(16, 256, 3, 2))
    structure_flow_batch: int = 6
    latent_flow_batch: int = 2
    latent_flow: dict = field(
        default_factory=lambda: {
            **_flow(32, 160, 3, 2),
            "num_io_res_blocks": 2,
            "io_block_channels": [64],
            "use_skip_connection": True,
        }
    )
    time_mean: float = 0.0
    time_std: float = 1.0
    drop_condition: float = 0.1
    loops: dict[str, LoopConfig] = field(
        default_factory=lambda: {
            "structure_autoencoder": LoopConfig(steps=20_000, learning_rate=1e-3, minutes=6),
            "latent_autoencoder": LoopConfig(steps=20_000, learning_rate=1e-3, minutes=12),
            "lifting": LoopConfig(steps=100_000, learning_rate=8e-4, minutes=30),
            "structure_decoder": LoopConfig(steps=20_000, learning_rate=5e-4, minutes=5),
            "latent_start": LoopConfig(steps=20_000, learning_rate=8e-4, minutes=8),
            "latent_decoders": LoopConfig(steps=20_000, learning_rate=7e-4, minutes=10),
            "structure_flow": LoopConfig(steps=50_000, learning_rate=5e-4, minutes=10),
            "latent_flow": LoopConfig(steps=50_000, learning_rate=5e-4, minutes=8),
        }
    )
