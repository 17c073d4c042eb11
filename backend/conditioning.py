"""What the flows are conditioned on: token sequences from pictures or text.

A model whose encoder also predicts latents hands them on as starts of the samplers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy
import torch
from PIL import Image
from torch import Tensor

from backend.checkpoints import ModelFolder, models_folder, read_model
from backend.errors import UserError
from backend.models.clip_text import ClipText, load_text_encoder
from backend.models.dinov2 import load_image_encoder


@dataclass(frozen=True)
class Condition:
    """The condition of one object.

    tokens: one (1, L, C) sequence for every picture. null: (1, L, C), the absence of a condition.
    structure_start (1, C, r, r, r), latent_start (1, C, R, R, R) in normalised space: latents from which the
    samplers may start instead of pure noise; None where the model has none.
    """

    tokens: tuple[Tensor, ...]
    null: Tensor
    structure_start: Tensor | None = None
    latent_start: Tensor | None = None

    def latent_start_at(self, coords: Tensor) -> Tensor | None:
        """The start of the structured latent (L, C) on the voxels coords (L, 3)."""
        if self.latent_start is None:
            return None
        x, y, z = coords.long().unbind(1)
        return self.latent_start[0, :, x, y, z].T.contiguous()


class Conditioner(Protocol):
    """Turns what the user gave into a condition; each model folder takes pictures or text."""

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition: ...

    def from_text(self, prompt: str) -> Condition: ...


def load_conditioner(folder: ModelFolder, device: torch.device) -> Conditioner:
    """The encoder that pipeline.json names, in fp32.

    A path inside the folder ("ckpts/…") is a checkpoint like the others; a bare name is a published encoder.
    """
    if folder.text_cond_model:
        encoder = load_text_encoder(folder.path, folder.text_cond_model, (models_folder(),))
        return TextConditioner(encoder.to(device))
    name = folder.image_cond_model
    if not name:
        raise UserError(f"The model {folder.name} names no encoder in pipeline.json; download it again.")
    if "/" in name:
        return LiftingConditioner(read_model(folder.path / name, torch.float32, device), device)
    return PictureConditioner(load_image_encoder(folder.path, name, (models_folder(),)).to(device), device)


def picture_to_pixels(picture: Image.Image, device: torch.device) -> Tensor:
    """(1, 3, H, W) in [0, 1] from an RGB picture."""
    pixels = torch.from_numpy(numpy.array(picture.convert("RGB"), dtype=numpy.float32) / 255)
    return pixels.permute(2, 0, 1)[None].contiguous().to(device)


class PictureConditioner:
    """DINOv2 tokens; the null condition is zeros of the same shape (spec of the published image models)."""

    def __init__(self, encoder: torch.nn.Module, device: torch.device) -> None:
        self._encoder = encoder
        self._device = device

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        tokens = tuple(self._encoder(picture_to_pixels(picture, self._device)) for picture in pictures)
        return Condition(tokens, torch.zeros_like(tokens[0]))

    def from_text(self, prompt: str) -> Condition:
        raise UserError("This model works from pictures; give a picture, or choose a text model.")


class LiftingConditioner:
    """The starter's own encoder: tokens and start latents in the frame of the first picture."""

    def __init__(self, encoder: torch.nn.Module, device: torch.device) -> None:
        self._encoder = encoder
        self._device = device

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        lifted = [self._encoder(picture_to_pixels(picture, self._device)) for picture in pictures]
        tokens = tuple(one.tokens for one in lifted)
        return Condition(
            tokens, torch.zeros_like(tokens[0]), lifted[0].structure_start, lifted[0].latent_start
        )

    def from_text(self, prompt: str) -> Condition:
        raise UserError("This model works from pictures; give a picture, or choose a text model.")


class TextConditioner:
    """CLIP text tokens (1, 77, C); the null condition is the empty sentence."""

    def __init__(self, encoder: ClipText) -> None:
        self._encoder = encoder

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        raise UserError("This model works from a sentence; give a prompt, or choose an image model.")

    def from_text(self, prompt: str) -> Condition:
        if not prompt.strip():
            raise UserError("The prompt is empty; describe the object in a sentence.")
        return Condition((self._encoder([prompt]),), self._encoder.null())
