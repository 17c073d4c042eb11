"""Learning-rate schedule, moving average of the weights and gradient clipping.

Nothing here waits for the device: what is decided from a norm is decided there.
"""

import math
from collections.abc import Iterable, Sequence

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
        """Takes in the parameters as they are after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(module.named_parameters())
        # One call for all: a loop over the tensors would cost a GPU more than the arithmetic.
        torch._foreach_lerp_(list(self.shadow.values()), [parameters[k] for k in self.shadow], 1 - decay)

    @torch.no_grad()
    def load(self, values: dict[str, Tensor]) -> None:
        """Takes over averages that were saved."""
        for name, value in values.items():
            if name in self.shadow:
                self.shadow[name].copy_(value)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Puts the averages in the module's parameters."""
        for name, parameter in module.named_parameters():
            if name in self.shadow:
                parameter.copy_(self.shadow[name])


class AdaptiveClip:
    """Clips the gradient norm to min(max_norm, 95th percentile of the last thousand norms) once those are
    known. Gradients that are not finite become zeros; `skipped` () counts such steps in a row.
    """

    def __init__(self, max_norm: float, window: int = 1000, percentile: float = 0.95):
        self.max_norm = max_norm
        self.percentile = percentile
        self._window = window
        self._norms = torch.zeros(0)
        self.skipped = torch.zeros((), dtype=torch.int32)

    @property
    def norms(self) -> list[float]:
        """Those recorded, oldest first; waits for the device."""
        return self._norms.tolist()

    def load(self, norms: Sequence[float]) -> None:
        """Takes over norms that were saved, oldest first."""
        self._norms = torch.tensor(norms[-self._window :], device=self._norms.device)

    def threshold(self) -> Tensor | float:
        """The largest norm that passes."""
        if len(self._norms) < self._window:
            return self.max_norm
        rank = int(self.percentile * (self._window - 1))
        return self._norms.sort().values[rank].clamp(max=self.max_norm)

    @torch.no_grad()
    def __call__(self, parameters: Iterable[Tensor]) -> Tensor:
        """Scales the gradients in place and returns the norm () they had."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self._norms = self._norms.to(norm.device)
        finite = norm.isfinite()
        self.skipped = (self.skipped.to(norm.device) + 1) * ~finite
        for gradient in gradients:
            gradient.nan_to_num_(0.0, 0.0, 0.0)
        factor = torch.where(finite, (self.threshold() / (norm + 1e-6)).clamp(max=1.0), 0.0)
        torch._foreach_mul_(gradients, factor)
        kept = torch.where(finite, norm, self.max_norm).to(self._norms.dtype)
        self._norms = torch.cat([self._norms, kept[None]])[-self._window :]
        return norm
