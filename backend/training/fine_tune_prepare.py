"""Objects -> examples that flows learn from, through the encoders of the model that is taught.

Each kind of record has a pass of its own, so that only the encoders of one kind are in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.conditioning import Condition, Conditioner, load_conditioner
from backend.errors import UserError
from backend.model_folder import ModelFolder
from backend.training.assets import Asset, Entry
from backend.training.fine_tune_captions import captions_of
from backend.training.fine_tune_config import FineTuneConfig
from backend.training.fine_tune_encoders import (
    Checkpoint,
    digest,
    is_view_aligned,
    latent_encoder,
    structure_encoder,
)
from backend.training.fine_tune_flows import Examples
from backend.training.fine_tune_records import Make, OnObject, Records, numbered
from backend.training.fine_tune_targets import CanonicalTargets, Targets, ViewAlignedTargets


def prepare(
    folder: ModelFolder,
    entries: tuple[Entry, ...],
    place: Path,
    device: torch.device,
    config: FineTuneConfig,
    captions: Mapping[str, tuple[str, ...]],
    until: float = math.inf,
    on_object: OnObject | None = None,
) -> dict[str, Examples] | None:
    """Latents and tokens of every object, made where they are not in `place` yet: the examples of each part.

    None if time.monotonic() says `until` before all are made.
    """
    examples = {}
    tokens = _tokens(folder, place, config, captions)
    make = _token_maker(folder, device, config, captions)
    usable = tokens.prepare(entries, make, until, on_object)
    for name in config.parts:
        if usable is None:
            return None
        targets = _targets(folder, device, config)
        if name == "structure_flow":
            records = Records(place, "structure", _origin(config, structure_encoder(folder)))
            make = _structure_maker(targets)
        else:
            origin = _origin(config, latent_encoder(folder)) | {
                "feature_views": config.feature_views,
                "normalization": list(folder.slat_normalization),
            }
            records = Records(place, "latent", origin)
            make = _latent_maker(targets)
        learned = records.prepare(usable, make, until, on_object)
        if learned is None:
            return None
        if not learned:
            raise UserError("None of the objects can be learned from; the warnings above say why.")
        examples[name] = Examples(learned, tokens, records, targets.poses)
    return examples


def _targets(folder: ModelFolder, device: torch.device, config: FineTuneConfig) -> Targets:
    if not is_view_aligned(folder):
        return CanonicalTargets(folder, device, config.pictures, config.feature_views, config.seed)
    if folder.text_cond_model:
        raise UserError(
            f"The model {folder.name} is taught by a recipe and not from its folder; see train --help."
        )
    return ViewAlignedTargets(folder, device, config.pictures, config.seed)


def _structure_maker(targets: Targets) -> Make:
    def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
        return {"latents": torch.stack(list(targets.structure_latents(entry, asset)))}

    return make


def _latent_maker(targets: Targets) -> Make:
    def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
        coords, latents = zip(*targets.latents(entry, asset), strict=True)
        return numbered("coords", iter(coords)) | numbered("latent", iter(latents))

    return make


def _token_maker(
    folder: ModelFolder, device: torch.device, config: FineTuneConfig, captions: Mapping[str, tuple[str, ...]]
) -> Make:
    conditioner: list[Conditioner] = []  # read when the first tokens are made, which may be never

    @torch.inference_mode()
    def make(entry: Entry, asset: Asset) -> dict[str, Tensor]:
        if not conditioner:
            conditioner.append(load_conditioner(folder, device))
        conditions: list[Condition]
        if folder.text_cond_model:
            conditions = [conditioner[0].from_text(one) for one in captions_of(entry, captions)]
        else:
            pictures = _targets(folder, device, config).pictures(entry, asset)
            conditions = [conditioner[0].from_pictures([picture]) for picture in pictures]
        tokens = torch.cat([condition.tokens[0] for condition in conditions])
        return {"tokens": tokens.half().cpu(), "null": conditions[0].null.half().cpu()}

    return make


def _tokens(
    folder: ModelFolder, place: Path, config: FineTuneConfig, captions: Mapping[str, tuple[str, ...]]
) -> Records:
    """The records of tokens, which depend on the encoder of pictures or text and on what it is given."""
    origin: dict[str, Any] = {
        "seed": config.seed,
        "pictures": config.pictures,
        "aligned": is_view_aligned(folder),
    }
    if folder.text_cond_model:
        origin = {"encoder": folder.text_cond_model, "captions": dict(captions)}
    elif folder.image_cond_model and "/" in folder.image_cond_model:
        origin["encoder"] = digest(folder.path / f"{folder.image_cond_model}.safetensors")
    else:
        origin["encoder"] = folder.image_cond_model
    return Records(place, "tokens", origin)


def _origin(config: FineTuneConfig, encoder: Checkpoint) -> dict[str, Any]:
    return {"seed": config.seed, "pictures": config.pictures, "encoder": digest(encoder.weights)}
