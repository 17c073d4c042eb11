"""What a model takes, gives and heeds, told from its pipeline.json, without reading weights."""

import logging

from backend.checkpoints.find_model import available_models
from backend.checkpoints.model_folder import ModelFolder, read_folder
from backend.errors import UserError
from backend.sampling import SamplerSettings, timesteps
from blender_trellis.protocol import FORMATS, Input, ModelInfo, StageInfo
from blender_trellis.protocol.messages import Format, Stage

log = logging.getLogger(__name__)

POLISHING = 0.1
"""Below this strength the flows only polish what the encoder predicts.

Measured at a strength of 0.03, from the same prediction: other seeds leave 99.4 to 99.8 % of the voxels as
they are, 1, 8 or 25 steps 99.98 %, guidance all of them.
"""


def available_model_infos() -> tuple[ModelInfo, ...]:
    """Of every model that can be found by name; one whose pipeline.json is broken takes and gives nothing."""
    return tuple(map(_info_or_name, available_models()))


def _info_or_name(name: str) -> ModelInfo:
    try:
        return model_info(read_folder(name))
    except UserError as error:  # whoever opens the model is told so again
        log.warning("%s", error)
        return ModelInfo(name)


def model_info(folder: ModelFolder) -> ModelInfo:
    """What the interface shows of a model."""
    has_text = bool(folder.text_cond_model)
    takes: tuple[Input, ...] = ("text",) if has_text else ("pictures",)
    predicts = _predicts_latents(folder)
    return ModelInfo(
        folder.name,
        takes=takes,
        several_pictures=not has_text and not (predicts and polishes(folder)),
        gives=tuple(_format(name) for name, one in FORMATS.items() if one.component in folder.models),
        stages=(
            _stage("sparse_structure", folder.structure_sampler),
            _stage("structured_latent", folder.slat_sampler),
        ),
        without_effect=_without_effect(folder, predicts),
    )


def _format(name: str) -> Format:
    return name  # type: ignore[return-value]  # the table's keys are the formats


def _stage(name: Stage, settings: SamplerSettings) -> StageInfo:
    return StageInfo(name, settings.steps, settings.cfg_strength, settings.rescale_t, settings.strength)


def _predicts_latents(folder: ModelFolder) -> bool:
    """Whether the encoder, a checkpoint of the folder's own, hands on latents from which the flows start."""
    name = folder.text_cond_model or folder.image_cond_model or ""
    return (folder.path / f"{name}.json").is_file() if folder.text_cond_model else "/" in name


def polishes(folder: ModelFolder) -> bool:
    """Whether neither flow goes beyond what the encoder predicts."""
    return max(folder.structure_sampler.strength, folder.slat_sampler.strength) <= POLISHING


def _without_effect(folder: ModelFolder, predicts: bool) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not predicts:
        reasons["strength"] = "This model always starts from noise."
    elif polishes(folder):
        source = "sentence" if folder.text_cond_model else "picture"
        why = f"This model predicts the object from the {source} in one go and hardly refines it"
        if not folder.text_cond_model:  # of a sentence the encoder predicts another object with each seed
            reasons["seed"] = f"{why}: another seed changes next to nothing."
        reasons["steps"] = f"{why}: more steps change next to nothing."
        reasons["rescale_t"] = f"{why}: how the steps are spaced changes next to nothing."
        reasons["multi_image"] = f"{why}: further pictures change next to nothing."
    if folder.text_cond_model:
        reasons["multi_image"] = "This model takes no pictures."
    if not any(map(_guides, (folder.structure_sampler, folder.slat_sampler))):
        reasons["cfg_strength"] = "This model never reaches the part of sampling where guidance acts."
    return reasons


def _guides(settings: SamplerSettings) -> bool:
    """Whether any of the sampler's times lies where guidance would act."""
    low, high = settings.cfg_interval
    return any(
        low <= t <= high for t in timesteps(settings.steps, settings.rescale_t, settings.strength)[:-1]
    )


def nothing_found(folder: ModelFolder) -> str:
    """What to tell of an empty structure: remedies that have an effect on this model."""
    info = model_info(folder)
    tries = [
        words
        for setting, words in (("seed", "another seed"), ("steps", "more steps"))
        if setting not in info.without_effect
    ]
    tries.append("a picture that shows one whole object" if "pictures" in info.takes else "other words")
    return f"The model found no shape; try {' or '.join(tries)}."
