"""What all published networks share: a frozen configuration and a torso that may run in half precision."""

from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import nn

from backend.config import parse_config
from backend.layers.engines import TORCH, Engine
from backend.layers.sparse_conv import ConvWeights

HALVED = (nn.Linear, nn.Conv3d, ConvWeights)
"""Layers whose weights follow the torso; norms, their scales and all buffers stay fp32."""


C = TypeVar("C")


class Network(nn.Module, Generic[C]):
    """Base of the checkpoint classes; `Config` and `torso` (attributes that are cast) belong to each."""

    Config: ClassVar[type[Any]]
    torso: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: C):
        super().__init__()
        self.config = config
        self.dtype = torch.float32
        self.engine = TORCH

    @classmethod
    def from_args(cls, args: dict) -> Self:
        """Build from the `args` of a checkpoint's JSON; UserError on an unknown or wrong field."""
        return cls(parse_config(cls.Config, args, cls.__name__))

    def to_precision(self, dtype: torch.dtype) -> Self:
        """Cast the weights of the torso; outer layers, time embedding, norms and buffers stay fp32."""
        for name in self.torso:
            for layer in getattr(self, name).modules():
                if isinstance(layer, HALVED):
                    layer.to(dtype)
        self.dtype = dtype
        return self

    def use_engine(self, engine: Engine) -> Self:
        """Let `structure()` make the tables of this engine from now on."""
        self.engine = engine
        return self

    def layers(self) -> list[nn.Module]:
        """The modules between which it can be asked how far it is, or stopped."""
        return [layer for layer in self.modules() if not any(True for _ in layer.children())]


def zero_(layer: nn.Module) -> None:
    """Start a layer at zero, so that its branch begins as nothing; `zero_starts` finds it again."""
    for part in layer.modules():
        part.starts_at_zero = True  # type: ignore[assignment]
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def xavier_linears_(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear layer below `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
