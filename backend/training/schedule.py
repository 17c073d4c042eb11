"""Learning-rate schedule, moving average of the weights and gradient clipping."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def learning_rate_factor(step: int, warm_up: int, progress: float, floor: float = 0.02) -> float:
    """Linear warm-up over steps, then a cosine over progress in [0, 1] down to the floor."""
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return cosine * min(1.0, (step + 1) / max(warm_up, 1))


class MovingAverage:
    """Exponential moving average of a module's parameters; early steps forget faster."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in module.named_parameters() if v.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            if name in self.shadow:
                self.shadow[name].lerp_(parameter.detach(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            if name in self.shadow:
                parameter.copy_(self.shadow[name])


class AdaptiveClip:
    """Clips the gradient norm to min(max_norm, 95th percentile of the last thousand norms) once those are
    known.
    """

    def __init__(self, max_norm: float, window: int = 1000, percentile: float = 0.95):
        self.max_norm = max_norm
        self.percentile = percentile
        self.norms: deque[float] = deque(maxlen=window)

    def threshold(self) -> float:
        if len(self.norms) < self.norms.maxlen:
            return self.max_norm
        ordered = sorted(self.norms)
        return min(self.max_norm, ordered[int(self.percentile * (len(ordered) - 1))])

    def __call__(self, parameters: Iterable[Tensor]) -> float:
        """Scales the gradients in place and returns the norm they had."""
        norm = float(nn.utils.clip_grad_norm_(list(parameters), self.threshold()))
        if math.isfinite(norm):
            self.norms.append(norm)
        return norm
