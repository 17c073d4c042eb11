"""The sizes and budgets of the starter's text model, which stands on a trained starter model."""

from dataclasses import dataclass, field

from backend.lifting.text_encoder import LiftingTextConfig
from backend.training.flows import FlowTraining
from backend.training.loop import LoopConfig
from backend.training.starter.recipe import flow_sizes

PARTS = ("lifting", "colors", "prior", "structure_flow", "latent_flow")
_WORDS = LiftingTextConfig.cond_channels


@dataclass(frozen=True)
class TextRecipe:
    """Constructor arguments of the text model's own networks, batch sizes and schedules."""

    lifting: LiftingTextConfig = LiftingTextConfig()
    lifting_batch: int = 16
    lifting_cells: int = 1024  # of a volume are compared with the structure in a step
    color_batch: int = 8
    prior_batch: int = 256
    structure_flow: dict = field(default_factory=lambda: flow_sizes(16, 96, 2, 2, _WORDS))
    structure_flow_batch: int = 4
    latent_flow: dict = field(
        default_factory=lambda: {
            **flow_sizes(32, 64, 2, 2, _WORDS),
            "num_io_res_blocks": 1,
            "io_block_channels": [32],
            "use_skip_connection": True,
        }
    )
    latent_flow_batch: int = 2
    flow: FlowTraining = FlowTraining(time_mean=0.0)
    loops: dict[str, LoopConfig] = field(
        default_factory=lambda: {
            "lifting": LoopConfig(steps=100_000, learning_rate=2e-3, minutes=45, ema=0.998),
            "colors": LoopConfig(steps=20_000, learning_rate=2e-3, minutes=6),
            "prior": LoopConfig(steps=100_000, learning_rate=1e-3, minutes=40, ema=0.999),
            "structure_flow": LoopConfig(steps=20_000, learning_rate=1e-3, minutes=1, warm_up=20),
            "latent_flow": LoopConfig(steps=20_000, learning_rate=1e-3, minutes=1, warm_up=20),
        }
    )
