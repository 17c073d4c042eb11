"""Goldens: recorded inputs, weights and outputs, and how far an answer may be from them.

A golden is a folder with a sidecar (`io.json` or `pipeline_io.json`: kind, models, tolerances) and tensors
beside it under the same stem. A tensor's tolerance is ten times the recorded floor, at least 1e-5, or what
the sidecar's `tensor_atol` names for it; integers must be equal.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.checkpoints.weights import read_model
from backend.errors import UserError
from backend.layers.engines import TORCH, Engine

SIDECARS = ("io.json", "pipeline_io.json")
LEAST_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Golden:
    """One recorded component. `root` is the folder that all goldens of a set lie in."""

    root: Path
    folder: Path
    sidecar: dict[str, Any]
    tensors: dict[str, Tensor]
    device: torch.device
    engine: Engine = TORCH

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        return self.sidecar.get("kind", "")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name].to(self.device)

    def get(self, name: str) -> Tensor | None:
        return self[name] if name in self.tensors else None

    def names(self, *prefixes: str) -> list[str]:
        """Names of the tensors that begin with one of the prefixes."""
        return [name for name in self.tensors if name.startswith(prefixes)]

    def model(self, name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The checkpoint NAME.json + NAME.safetensors beside the sidecar, loaded strictly, in eval mode.

        Its configuration must be the one that the sidecar recorded.
        """
        recorded = self.sidecar["models"][name]
        written = json.loads((self.folder / f"{name}.json").read_text())
        if {key: written[key] for key in ("name", "args")} != {
            key: recorded[key] for key in ("name", "args")
        }:
            raise UserError(
                f"The golden {self.name} has another configuration in {name}.json than in its sidecar."
            )
        return read_model(self.folder / name, dtype, self.device, self.engine)

    def seed_of(self, name: str) -> int:
        """The seed that a tensor's description names ("… manual_seed(1004) …")."""
        found = re.search(r"seed[^0-9]{0,3}(\d+)", self.sidecar["tensors"][name]["desc"])
        if found is None:
            raise UserError(f"The golden {self.name} does not say the seed of {name}.")
        return int(found[1])

    def tolerance(self, name: str) -> float:
        """Largest allowed absolute error of one tensor."""
        if not self.tensors[name].is_floating_point():
            return 0.0
        named = self.sidecar.get("tensor_atol", {})
        if name in named:
            return named[name]
        recorded = self.sidecar.get("tolerance", {}).get(name, {}).get("alt")
        return max(10 * recorded, LEAST_TOLERANCE) if isinstance(recorded, float) else LEAST_TOLERANCE


def find_goldens(root: Path, device: torch.device, engine: Engine = TORCH) -> Iterator[Golden]:
    """Every golden below `root`, in the order of their names."""
    sidecars = sorted(path for name in SIDECARS for path in root.rglob(name))
    if not sidecars:
        raise UserError(f"There are no goldens in {root}; give the folder that holds their folders.")
    for path in sidecars:
        yield read_golden(path, root, device, engine)


def read_golden(sidecar: Path, root: Path, device: torch.device, engine: Engine = TORCH) -> Golden:
    """One golden; UserError where its files are missing or damaged."""
    try:
        read = json.loads(sidecar.read_text())
        tensors = load_file(sidecar.with_suffix(".safetensors"))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"The golden {sidecar.parent.name} cannot be read ({error}); copy it again."
        ) from error
    if fault := _atol_fault(read.get("tensor_atol", {}), tensors):
        raise UserError(
            f"The golden {sidecar.parent.name} names a wrong tensor_atol: {fault}; correct {sidecar}."
        )
    return Golden(root, sidecar.parent, read, tensors, device, engine)


def _atol_fault(named: object, tensors: dict[str, Tensor]) -> str:
    """What is wrong with a sidecar's `tensor_atol`; "" if nothing is."""
    if not isinstance(named, dict):
        return "it is no table of tensors and numbers"
    for name, value in named.items():
        if name not in tensors:
            return f"there is no tensor {name}"
        if not tensors[name].is_floating_point():
            return f"{name} holds integers, which must be equal"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name} needs a number, not {json.dumps(value)}"
        if not 0 < value <= sys.float_info.max:
            return f"{name} needs a finite number above 0, not {value}"
    return ""


def largest_error(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite where shapes differ or a number is not finite."""
    if actual.shape != expected.shape:
        return float("inf")
    if actual.numel() == 0:
        return 0.0
    error = (actual.detach().cpu().double() - expected.cpu().double()).abs().max().item()
    return error if error == error else float("inf")


def objects(coords: Tensor) -> list[Tensor]:
    """Row masks of the objects in a recorded batch (N, 4) whose first column is the object."""
    return [coords[:, 0] == n for n in range(int(coords[:, 0].max()) + 1)]
