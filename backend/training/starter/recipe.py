"""The sizes and budgets of the starter model: one frozen value that every part reads."""

from dataclasses import dataclass, field, replace
from typing import Self

import torch

from backend.lifting.image_encoder import LiftingEncoderConfig
from backend.lifting.surface import FEATURES
from backend.training.dataset import Variety
from backend.training.flows import FlowTraining
from backend.training.loop import LoopConfig

PARTS = (
    "structure_autoencoder", "latent_autoencoder", "lifting", "colors", "structure_flow", "latent_flow",
    "mesh_decoder", "gaussian_decoder",
)  # fmt: skip


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


def flow_sizes(
    resolution: int, channels: int, blocks: int, mlp_ratio: float, cond_channels: int = 256
) -> dict:
    """What both flows are built of, by the published field names."""
    return {
        "resolution": resolution,
        "in_channels": 8,
        "out_channels": 8,
        "model_channels": channels,
        "cond_channels": cond_channels,
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
    variety: Variety = Variety(procedural=0.1, stretched=0.2)
    views: int = 2  # of an object whose surface is stored
    prepare_share: float = 0.15  # of the minutes at most, for preparing data
    finish_share: float = 0.12  # of the minutes, for calibration, export and a short evaluation
    structure_encoder: dict = field(default_factory=lambda: _structure_coder([8, 32, 64], in_channels=1))
    structure_decoder: dict = field(default_factory=lambda: _structure_coder([64, 16, 8], out_channels=1))
    structure_batch: int = 24
    structure_crop: int = 32
    structure_kl: float = 1e-3
    lifting: LiftingEncoderConfig = LiftingEncoderConfig(pretrained_features=True, volume_blocks=(1, 2, 3))
    lifting_batch: int = 8
    color_batch: int = 4
    latent_encoder: dict = field(default_factory=lambda: {**_trunk(128, 2, 2), "in_channels": FEATURES})
    mesh_decoder: dict = field(
        default_factory=lambda: {
            **_trunk(256, 2, 2),
            "representation_config": {"use_color": True, "solid": True},
        }
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
    latent_batch: int = 1  # objects, of each a box of at most latent_voxels
    latent_voxels: int = 160
    latent_kl: float = 1e-4
    structure_flow: dict = field(
        default_factory=lambda: {**flow_sizes(16, 256, 3, 2), "aligned_channels": 72}
    )
    prior_steps: int = 400  # before the structure flow begins
    structure_flow_batch: int = 2  # pictures, each with its mirror image
    latent_flow_batch: int = 2
    latent_flow: dict = field(
        default_factory=lambda: {
            **flow_sizes(32, 160, 3, 2),
            "aligned_channels": 73,
            "num_io_res_blocks": 2,
            "io_block_channels": [64],
            "use_skip_connection": True,
        }
    )
    flow: FlowTraining = FlowTraining()
    loops: dict[str, LoopConfig] = field(
        default_factory=lambda: {
            "structure_autoencoder": LoopConfig(steps=20_000, learning_rate=1e-3, minutes=6),
            "latent_autoencoder": LoopConfig(steps=20_000, learning_rate=1e-3, minutes=12),
            "lifting": LoopConfig(steps=100_000, learning_rate=8e-4, minutes=30, muon=True),
            "colors": LoopConfig(steps=20_000, learning_rate=8e-4, minutes=6),
            "structure_flow": LoopConfig(steps=50_000, learning_rate=5e-4, minutes=25, ema=0.998),
            "latent_flow": LoopConfig(steps=50_000, learning_rate=5e-4, minutes=8),
            "mesh_decoder": LoopConfig(steps=20_000, learning_rate=5e-4, minutes=20),
            "gaussian_decoder": LoopConfig(steps=20_000, learning_rate=5e-4, minutes=8),
        }
    )

    @property
    def minutes(self) -> float:
        """For everything together, when nothing else is asked for."""
        training = sum(loop.minutes for loop in self.loops.values())
        return training / (1 - self.prepare_share - self.finish_share)

    def for_device(self, device: torch.device) -> Self:
        """The same networks, in batches that keep a GPU busy, and minutes shared out for one."""
        if device.type == "cpu":
            return self
        minutes = dict(zip(PARTS, (1.5, 4.0, 8.0, 1.5, 3.0, 1.5, 2.0, 1.0), strict=True))
        loops = {
            name: replace(loop, steps=10**6, minutes=minutes[name], ema=0.999, warm_up=200, log_every=50)
            for name, loop in self.loops.items()
        }
        return replace(
            self,
            views=6,
            structure_batch=64,
            lifting_batch=64,
            color_batch=16,
            latent_batch=4,
            latent_voxels=2048,
            structure_flow_batch=64,
            latent_flow_batch=12,
            loops=loops,
        )
