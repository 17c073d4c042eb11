"""The networks of one model folder on one device: read from disk when first needed, then kept."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from backend.checkpoints.weights import ModelFolder, open_folder, read_config, read_model
from backend.errors import MissingModel
from backend.layers.engines import TORCH, Engine, choose_engine
from backend.trellis.conditioning import Conditioner, load_conditioner
from backend.trellis.residency import CONDITIONER, STAGES, Residency, is_on, parameter_bytes


class Networks:
    """`networks["slat_decoder_gs"]` is the network of that role in pipeline.json."""

    def __init__(
        self,
        folder: ModelFolder,
        device: torch.device,
        dtype: torch.dtype,
        loaded: dict[str, nn.Module] | None = None,
        conditioner: Conditioner | None = None,
        engine: Engine = TORCH,
    ) -> None:
        self.folder = folder
        self.device = device
        self.dtype = dtype
        self.engine = engine
        self.residency = Residency(device)
        self._loaded = dict(loaded or {})
        self._conditioner = conditioner

    @classmethod
    def open(
        cls, model: str | Path, device: torch.device, dtype: torch.dtype, engine: str = "torch"
    ) -> "Networks":
        """Those of a model's folder or bundled name; nothing is loaded yet."""
        return cls(open_folder(model), device, dtype, engine=choose_engine(engine, device))

    def begin(self, stage: str, working_bytes: int = 0) -> None:
        """Ready the device for a stage that allocates so much: its network comes, others leave if need be.

        A network that is still on the disk is read into the machine's memory first, so that what must leave
        has left when it comes.
        """
        role = STAGES[stage]
        if role == CONDITIONER:
            _ = self.conditioner
        else:
            self._load(role, torch.device("cpu"))
        modules = dict(self._loaded)
        if self._conditioner is not None:
            modules[CONDITIONER] = self._conditioner.encoder
        self.residency.begin(stage, modules, working_bytes)

    def __getitem__(self, role: str) -> nn.Module:
        return self._load(role, self.device).to(self.device)

    def config(self, role: str) -> Any:
        """The configuration of a role's network, whose weights need not be read for it."""
        return self._loaded[role].config if role in self._loaded else read_config(self._checkpoint(role))

    def is_solid(self) -> bool:
        """Whether the model has a mesh decoder to which what voxels enclose is inside."""
        role = "slat_decoder_mesh"
        return (role in self._loaded or role in self.folder.models) and self.config(role).head.solid

    def resident_bytes(self) -> int:
        """Of the weights that lie on the device now and can leave it, or need not come again."""
        modules = list(self._loaded.values())
        if self._conditioner is not None:
            modules.append(self._conditioner.encoder)
        return sum(parameter_bytes(one) for one in modules if is_on(one, self.device))

    def _load(self, role: str, device: torch.device) -> nn.Module:
        if role not in self._loaded:
            self._loaded[role] = read_model(self._checkpoint(role), self.dtype, device, self.engine)
        return self._loaded[role]

    def _checkpoint(self, role: str) -> Path:
        if role not in self.folder.models:
            raise MissingModel(
                f"The model {self.folder.name} has no {role}; choose other formats or another model."
            )
        return self.folder.models[role]

    @property
    def conditioner(self) -> Conditioner:
        """The encoder of pictures or text that pipeline.json names."""
        if self._conditioner is None:
            self._conditioner = load_conditioner(self.folder, self.device)
        return self._conditioner
