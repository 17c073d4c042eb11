"""AdamW, alone or beside Muon, and their state."""

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from backend.training.state import OptimizerState

_LEAST_SIDE = 32  # of a matrix for Muon: what has a shorter one is an end of the network, or next to nothing


class LayerMuon(torch.optim.Muon):
    """Muon (Jordan et al. 2024) for weights of any layer: (C_out, C_in, …) counts as a matrix of C_out rows.

    Updates are as large as those of AdamW with the same learning rate.
    """

    def __init__(self, weights: Iterable[nn.Parameter], learning_rate: float, weight_decay: float):
        self.weights = list(weights)
        matrices = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in self.weights]
        super().__init__(matrices, learning_rate, weight_decay, adjust_lr_fn="match_rms_adamw")

    def step(self) -> None:  # type: ignore[override]
        """Moves the weights, in whose memory the matrices lie."""
        for weight, matrix in zip(self.weights, _parameters(self), strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)
        super().step()


def optimizers_of(
    parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float, muon: bool
) -> tuple[torch.optim.Optimizer, ...]:
    """AdamW for all of them, or Muon for weights and AdamW for what is left."""
    weights = [p for p in parameters if muon and p.ndim > 1 and min(len(p), p[0].numel()) >= _LEAST_SIDE]
    taken = set(map(id, weights))
    others = [p for p in parameters if id(p) not in taken]
    found: list[torch.optim.Optimizer] = []
    if weights:
        found.append(LayerMuon(weights, learning_rate, weight_decay))
    if others:
        found.append(torch.optim.AdamW(others, learning_rate, (0.9, 0.98), weight_decay=weight_decay))
    return tuple(found)


def state_of(optimizers: Iterable[torch.optim.Optimizer]) -> OptimizerState:
    """What they remember of every parameter, numbered through all of them."""
    numbers = itertools.count()
    return {next(numbers): one.state.get(p, {}) for one in optimizers for p in _parameters(one)}


def load_state(optimizers: Iterable[torch.optim.Optimizer], state: OptimizerState) -> None:
    """Takes over what `state_of` gave of the same optimisers; ValueError when it is that of others."""
    numbers = itertools.count()
    for one in optimizers:
        own = {place: state.get(next(numbers), {}) for place, _ in enumerate(_parameters(one))}
        for place, parameter in enumerate(_parameters(one)):
            if own[place] and not _fits(own[place], one, parameter):
                raise ValueError(
                    f"parameter {place} was moved by another optimiser than {type(one).__name__}"
                )
        one.load_state_dict({"state": own, "param_groups": one.state_dict()["param_groups"]})


def _fits(remembered: dict[str, Tensor], optimizer: torch.optim.Optimizer, parameter: Tensor) -> bool:
    name = "momentum_buffer" if isinstance(optimizer, LayerMuon) else "exp_avg"
    return name in remembered and remembered[name].shape == parameter.shape


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
