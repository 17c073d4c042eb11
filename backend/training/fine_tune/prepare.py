"""Objects -> records that parts learn from, through the encoders of the model that is fine-tuned.

Each kind of record has a pass of its own, so that only the encoders of one kind are in memory at a time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.checkpoints.model_folder import ModelFolder
from backend.checkpoints.weights import read_model
from backend.encoding.latent_encoders import is_view_aligned, latent_encoder, structure_encoder, weights_of
from backend.errors import UserError
from backend.geometry.mesh_files import Asset, Entry
from backend.training.data.records import Begin, Make, Records, digest
from backend.training.distributed import ALONE, World
from backend.training.fine_tune.captions import captions_of
from backend.training.fine_tune.config import FineTuneConfig
from backend.training.fine_tune.targets import CanonicalTargets, Targets, ViewAlignedTargets
from backend.trellis.conditioning import Conditioner, LiftingConditioner, cutout_to_pixels, load_conditioner


@dataclass
class Preparation:
    """Makes the records of `entries` below `place`; objects that cannot be used leave `entries`.

    `captions` are sentences by the entries' names, for models of text. OutOfTime at `until`; UserError when
    no object is left. Several processes share the work.
    """

    folder: ModelFolder
    entries: tuple[Entry, ...]
    place: Path
    device: torch.device
    config: FineTuneConfig
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    until: float = math.inf
    world: World = ALONE

    def __post_init__(self) -> None:
        config = self.config
        self.aligned = is_view_aligned(self.folder)
        where = self.folder, self.device, config.seed, config.pictures
        self.targets: Targets = (
            ViewAlignedTargets(*where) if self.aligned else CanonicalTargets(*where, config.feature_views)
        )

    def structures(self) -> Records:
        """Latents of the sparse structure."""
        origin = {"encoder": digest(weights_of(structure_encoder(self.folder)))}
        return self._records("structure", origin, self.targets.structures)

    def latents(self) -> Records:
        """Structured latents."""
        origin = {
            "encoder": digest(weights_of(latent_encoder(self.folder))),
            "feature_views": self.config.feature_views,
            "normalization": list(self.folder.slat_normalization),
        }
        return self._records("latent", origin, self.targets.latents)

    def looks(self, lifting: Path | None = None) -> Records:
        """Structured latents of solids with what the encoder, a trained one's checkpoint or the folder's own,
        says of their voxels.
        """
        lifting = lifting or self.folder.path / str(self.folder.image_cond_model)
        encoders = [digest(weights_of(one)) for one in (lifting, latent_encoder(self.folder))]
        assert isinstance(self.targets, ViewAlignedTargets)
        return self._records("looks", {"encoders": encoders}, partial(self.targets.looks, lifting))

    def pixels(self, size: int) -> Records:
        """Pictures: pixels (K, 4, size, size) u8."""

        def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
            cpu = torch.device("cpu")
            pictures = [cutout_to_pixels(one, cpu) for one in self.targets.pictures(entry, asset)]
            small = F.interpolate(torch.cat(pictures), size=(size, size), mode="bilinear", antialias=True)
            return {"pixels": (small * 255).round().to(torch.uint8)}

        return self._records("pixels", {"size": size}, lambda: make)

    def tokens(self, lifting: Path | None = None) -> Records:
        """Conditions: tokens (K, L, C), null (1, L, C) and, from the starter's encoder, aligned
        (K, C', r, r, r) f16, by a trained encoder's checkpoint.
        """
        folder = self.folder
        sentences: dict[Entry, tuple[str, ...]] = {}
        encoder = folder.text_cond_model or folder.image_cond_model
        if folder.text_cond_model:
            sentences = {entry: captions_of(entry, self.captions) for entry in self.entries}
        elif lifting is not None or self.aligned:
            lifting = lifting or folder.path / str(folder.image_cond_model)
            encoder = digest(weights_of(lifting))

        def begin() -> Make:
            conditioner: Conditioner = (
                load_conditioner(folder, self.device)
                if lifting is None
                else LiftingConditioner(read_model(lifting, torch.float32, self.device), self.device)
            )

            @torch.inference_mode()
            def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
                if sentences:
                    conditions = [conditioner.from_text(one) for one in sentences[entry]]
                else:
                    pictures = self.targets.pictures(entry, asset)
                    conditions = [conditioner.from_pictures([picture]) for picture in pictures]
                tokens = torch.cat([condition.tokens[0] for condition in conditions])
                aligned = [one.aligned for one in conditions if one.aligned is not None]
                made = {"tokens": tokens, "null": conditions[0].null}
                made |= {"aligned": torch.cat(aligned)} if aligned else {}
                return {name: one.half().cpu() for name, one in made.items()}

            return make

        origin = {"encoder": encoder} | ({"volume": True} if lifting else {})
        return self._records("tokens", origin, begin, sentences)

    def _records(
        self, kind: str, origin: dict[str, Any], begin: Begin, details: Mapping[Entry, object] | None = None
    ) -> Records:
        frame = {"seed": self.config.seed, "pictures": self.config.pictures, "aligned": self.aligned}
        records = Records(self.place, kind, frame | origin, details)
        self.entries = records.prepare(self.entries, begin, self.until, self.world)
        if not self.entries:
            raise UserError("None of the objects can be learned from; the warnings above say why.")
        return records
