"""The state of a part in training, one file: weights, averages, optimiser and counters.

Keys are `model.`, `ema.` and `optimizer.<index>.` followed by the tensor's name; the counters are JSON in the
file's metadata.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from backend.errors import UserError
from backend.tensor_files import write_tensors

OptimizerState: TypeAlias = dict[int, dict[str, Tensor]]  # by parameter number


@dataclass(frozen=True)
class State:
    """model and ema by tensor name · optimizer by parameter number · counters such as the step."""

    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: OptimizerState
    counters: dict[str, Any]


def write_state(path: Path, state: State) -> None:
    """Writes the file; a reader sees the old one or the whole new one."""
    tensors = {f"model.{k}": v for k, v in state.model.items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.items()}
    for index, values in state.optimizer.items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
    write_tensors(path, tensors, {"counters": json.dumps(state.counters)})


def read_state(path: Path) -> State:
    """Reads the file, to processor memory; UserError when it is damaged."""
    with _opened(path) as file:
        counters = json.loads((file.metadata() or {})["counters"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    optimizer: OptimizerState = {}
    for key, value in _below(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        optimizer.setdefault(int(index), {})[name] = value
    return State(_below(tensors, "model."), _below(tensors, "ema."), optimizer, counters)


def read_counters(path: Path) -> dict[str, Any]:
    """The counters alone; none where there is no such file. UserError when it is damaged."""
    if not path.is_file():
        return {}
    with _opened(path) as file:
        return json.loads((file.metadata() or {}).get("counters", "{}"))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(
            f"The training state {path} is damaged ({error}); remove it to begin again."
        ) from error


def load_averaged(module: nn.Module, path: Path) -> nn.Module:
    """Fills a module from a saved state, averaged weights where there are any; returns it frozen."""
    state = read_state(path)
    module.load_state_dict({**state.model, **state.ema})
    return module.eval().requires_grad_(False)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
