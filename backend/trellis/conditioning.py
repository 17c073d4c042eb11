"""What the flows are conditioned on: token sequences from pictures or text.

A model whose encoder also predicts latents hands them on as starts of the samplers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy
import torch
from PIL import Image
from torch import Tensor

from backend.checkpoints.find_model import models_folder
from backend.checkpoints.weights import ModelFolder, read_model
from backend.errors import UserError
from backend.image import on_black
from backend.lifting.known_words import KnownWords
from backend.lifting.outline import Outline
from backend.lifting.solid import SolidGuess
from backend.lifting.text_encoder import LiftingTextEncoder
from backend.models.clip_text import ClipText, load_text_encoder
from backend.models.dinov2 import load_image_encoder
from backend.models.minilm_text import PUBLISHED as MINILM
from backend.models.minilm_text import MiniLmText, load_sentence_encoder

_BACKGROUND_LEVEL = 0.03  # pixels darker than this in all channels are black
PICTURES_ONLY = (
    "This model works from pictures; give a picture, or choose a model for sentences, such as starter-text."
)
SENTENCES_ONLY = (
    "This model works from a sentence; give a prompt, or choose a model for pictures, such as starter."
)


@dataclass(frozen=True)
class Condition:
    """The condition of one object.

    tokens: one (1, L, C) sequence for every picture. null: (1, L, C), the absence of a condition.
    structure_start (1, C, r, r, r), latent_start (1, C, R, R, R) in normalised space: latents from which the
    samplers may start instead of pure noise; None where the model has none. solid: what the guide tells of
    the object's solid, which gives every sampled structure a start of its own. aligned (1, C, r, r, r): what
    a flow with a spatially aligned condition reads beside its input. outline: what the first picture shows.
    """

    tokens: tuple[Tensor, ...]
    null: Tensor
    structure_start: Tensor | None = None
    latent_start: Tensor | None = None
    solid: SolidGuess | None = None
    aligned: Tensor | None = None
    outline: Outline | None = None

    @property
    def predicts(self) -> bool:
        """Whether the structured latent need not start from pure noise."""
        return self.latent_start is not None or self.solid is not None

    def latent_start_at(self, coords: Tensor) -> Tensor | None:
        """The start of the structured latent (L, C) on the voxels coords (L, 3)."""
        if self.latent_start is None:
            return None if self.solid is None else self.solid.latents(coords)
        x, y, z = coords.long().unbind(1)
        return self.latent_start[0, :, x, y, z].T.contiguous()


class Conditioner(Protocol):
    """Turns what the user gave into a condition; each model folder takes pictures or text.

    `encoder` is all that lies on the device for it.
    """

    encoder: torch.nn.Module

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition: ...

    def from_text(self, prompt: str, seed: int = 0) -> Condition:
        """seed: of what the sentence leaves open, where the encoder decides it."""
        ...


def load_conditioner(folder: ModelFolder, device: torch.device) -> Conditioner:
    """The encoder that pipeline.json names, in fp32.

    A path inside the folder ("ckpts/…") is a checkpoint like the others; a bare name is a published encoder.
    """
    if folder.text_cond_model:
        return _load_text_conditioner(folder, folder.text_cond_model, device)
    name = folder.image_cond_model
    if not name:
        raise UserError(f"The model {folder.name} names no encoder in pipeline.json; download it again.")
    if "/" in name:
        return LiftingConditioner(read_model(folder.path / name, torch.float32, device), device)
    return PictureConditioner(load_image_encoder(folder.path, name, (models_folder(),)).to(device), device)


def _load_text_conditioner(folder: ModelFolder, name: str, device: torch.device) -> Conditioner:
    search = (models_folder(),)
    if (folder.path / f"{name}.json").is_file():
        lifting = read_model(folder.path / name, torch.float32, device)
        if not isinstance(lifting, LiftingTextEncoder):
            raise UserError(f"{name} of the model {folder.name} is no text encoder; download it again.")
        sentences = load_sentence_encoder(folder.path, lifting.config.sentence_encoder, search)
        sentences = sentences.to(device)
        return LiftingTextConditioner(sentences, lifting, KnownWords.of_folder(folder.path, sentences))
    if name == MINILM:
        return TextConditioner(load_sentence_encoder(folder.path, name, search).to(device))
    return TextConditioner(load_text_encoder(folder.path, name, search).to(device))


def picture_to_pixels(picture: Image.Image, device: torch.device) -> Tensor:
    """(1, 3, H, W) in [0, 1] from a cut-out RGBA picture, which is put on black, or from any other."""
    picture = on_black(picture) if picture.mode == "RGBA" else picture.convert("RGB")
    pixels = torch.from_numpy(numpy.array(picture, dtype=numpy.float32) / 255)
    return pixels.permute(2, 0, 1)[None].contiguous().to(device)


def cutout_to_pixels(picture: Image.Image, device: torch.device) -> Tensor:
    """(1, 4, H, W) in [0, 1]: colour on black, and how far each pixel shows the object.

    Of a picture without transparency what is not black counts as the object.
    """
    pixels = picture_to_pixels(picture, device)
    if picture.mode == "RGBA":
        alpha = torch.from_numpy(numpy.array(picture.getchannel("A"), dtype=numpy.float32) / 255)
        return torch.cat([pixels, alpha[None, None].to(device)], dim=1)
    return torch.cat([pixels, (pixels.amax(dim=1, keepdim=True) > _BACKGROUND_LEVEL).float()], dim=1)


class PictureConditioner:
    """DINOv2 tokens; the null condition is zeros of the same shape (spec of the published image models)."""

    def __init__(self, encoder: torch.nn.Module, device: torch.device) -> None:
        self.encoder: torch.nn.Module = encoder
        self._device = device

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        tokens = tuple(self.encoder(picture_to_pixels(picture, self._device)) for picture in pictures)
        return Condition(tokens, torch.zeros_like(tokens[0]))

    def from_text(self, prompt: str, seed: int = 0) -> Condition:
        raise UserError(PICTURES_ONLY)


class LiftingConditioner:
    """The starter's own encoder: tokens and start latents in the frame of the first picture."""

    def __init__(self, encoder: torch.nn.Module, device: torch.device) -> None:
        self.encoder: torch.nn.Module = encoder
        self._device = device

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        lifted = [self.encoder(cutout_to_pixels(picture, self._device)) for picture in pictures]
        tokens, first = tuple(one.tokens for one in lifted), lifted[0]
        null = torch.zeros_like(tokens[0])
        solid = first.solids[0]
        return Condition(tokens, null, first.structure_start, None, solid, first.aligned, solid.outline)

    def from_text(self, prompt: str, seed: int = 0) -> Condition:
        raise UserError(PICTURES_ONLY)


class TextConditioner:
    """Tokens (1, L, C) of a text encoder; the null condition is the empty sentence."""

    def __init__(self, encoder: MiniLmText | ClipText) -> None:
        self.encoder: torch.nn.Module = encoder
        self._encode = encoder

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        raise UserError(SENTENCES_ONLY)

    def from_text(self, prompt: str, seed: int = 0) -> Condition:
        if not prompt.strip():
            raise UserError("The prompt is empty; describe the object in a sentence.")
        return Condition((self._encode([prompt]),), self._encode.null())


class LiftingTextConditioner:
    """Tokens of the sentence model, and the start latents that the starter's text encoder makes of them."""

    def __init__(
        self, sentences: MiniLmText, lifting: LiftingTextEncoder, known: KnownWords | None = None
    ) -> None:
        self.encoder: torch.nn.Module = torch.nn.ModuleList([sentences, lifting])
        self._words = TextConditioner(sentences)
        self._lifting = lifting
        self._known = known

    def from_pictures(self, pictures: Sequence[Image.Image]) -> Condition:
        return self._words.from_pictures(pictures)

    def from_text(self, prompt: str, seed: int = 0) -> Condition:
        condition = self._words.from_text(prompt)
        if self._known is not None:
            self._known.check(prompt)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, self._lifting.config.code, generator=generator)
        starts = self._lifting(condition.tokens[0], noise.to(condition.tokens[0].device))
        return replace(condition, structure_start=starts.structure_start, solid=starts.solids[0])
