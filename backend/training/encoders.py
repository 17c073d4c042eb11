"""Training of the starter's encoders: a picture or a sentence -> surface, solid, and the surface's colours.

The shape is learned first and the colours on the finished volume: learned together, the colours' gradients
would leave the shape less of every step. B batch · R, r resolutions of the structure and of the structured
latent · S picture size · n cells of a volume.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.lifting.image_encoder import LiftingImageEncoder
from backend.lifting.occupancy import OccupancyGuess
from backend.lifting.text_encoder import LiftingTextEncoder
from backend.models.sparse_structure_flow import patchify
from backend.training.loop import Part
from backend.training.losses import OCCUPIED_BIAS, iou, occupancy_loss

Encoder: TypeAlias = LiftingImageEncoder | LiftingTextEncoder
Batch = TypeVar("Batch")

# The solid fills many more voxels than the surface, so cross-entropy weighs enough of itself.
SOLID_BCE = 2.5
SOLID_WEIGHT = 0.7
SOLID_BIAS = -2.0  # the logit of the share of solid voxels
SURFACE_CUT = -1.5  # the logit near which surfaces are cut, for the log: the exact cut takes too long


@dataclass(frozen=True)
class ShapeBatch:
    """given: pictures (B, 4, S, S) u8 or codes (B, K) · packed, packed_solid (B, R³ / 8) u8, bits of
    surface and solid.
    """

    given: Tensor
    packed: Tensor
    packed_solid: Tensor

    @cached_property
    def occupied(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed)

    @cached_property
    def solid(self) -> Tensor:
        """(B, 1, R, R, R) f32, 0 or 1."""
        return unpacked(self.packed_solid)


@dataclass(frozen=True)
class ColorBatch:
    """given as above · tints (B, 3, r, r, r) u8 of the voxels, which count only close to the surface, near
    (B, r, r, r) bool.
    """

    given: Tensor
    tints: Tensor
    near: Tensor


@dataclass(frozen=True)
class PictureBatch(ShapeBatch):
    """Shapes and colours together."""

    tints: Tensor
    near: Tensor


def unpacked(packed: Tensor) -> Tensor:
    """Occupancies as numpy packs their bits, (B, R³ / 8) u8 -> (B, 1, R, R, R) f32, 0 or 1."""
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    bits = (packed[..., None] >> shifts) & 1
    size = round((8 * packed.shape[1]) ** (1 / 3))
    return bits.reshape(-1, 1, size, size, size).float()


def pixels(pictures: Tensor) -> Tensor:
    """u8 -> f32 in [0, 1]."""
    return pictures.float() / 255


def color_layers(module: Encoder) -> tuple[nn.Module, ...]:
    """The layers that only colours pass."""
    if isinstance(module, LiftingTextEncoder):
        return module.tint, module.color_head
    return module.color_expand, module.color_picture, module.color_block, module.color_head


def shape_part(
    module: Encoder,
    batch: Callable[[int], ShapeBatch],
    structure_encoder: nn.Module,
    cells: int | None = None,
) -> Part[ShapeBatch]:
    """Prediction of surface and solid, in some `cells` of the volume alone where all would take too long.

    The new encoder gets the structure encoder, through which its prediction becomes a latent, and the share
    of occupied voxels as its first prediction.
    """
    head = module.structure_head
    head.encoder.load_state_dict(structure_encoder.state_dict())
    surface, solid = head.head[-1].bias.data.chunk(2)
    nn.init.constant_(surface, OCCUPIED_BIAS)
    nn.init.constant_(solid, SOLID_BIAS)
    others = [*color_layers(module), module.surface_head, *_pretrained(module)]
    if isinstance(module, LiftingTextEncoder):
        others.append(module.prior)
    for one in others:
        one.requires_grad_(False)

    def loss(batch: ShapeBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        _, volume = _lifted(module, batch.given)
        if cells is None:
            return shape_loss(head.occupancy(volume), batch.occupied, batch.solid)
        chosen = torch.randperm(volume[0, 0].numel(), generator=generator)[:cells].to(volume.device)
        occupied, solid = (_voxels(head, one, chosen) for one in (batch.occupied, batch.solid))
        return shape_loss(_occupancy(head, volume, chosen), occupied, solid)

    return Part("lifting", module, batch, loss)


def color_part(
    module: Encoder,
    batch: Callable[[int], Any],
    latent_encoder: nn.Module,
    mean: Tensor,
    std: Tensor,
    distance: Callable[[Tensor, Any], Tensor] | None = None,
) -> Part[Any]:
    """Prediction of the surface's colours on the finished volume; `distance` is that from the truth.

    With colours the encoder can make latents, so it gets its latent encoder here, and the latents' mean and
    deviation (C,).
    """
    measure = distance or (lambda predicted, batch: color_loss(predicted, batch.tints, batch.near))
    module.requires_grad_(False)
    module.surface_head.encoder.load_state_dict(latent_encoder.state_dict())
    module.surface_head.mean.copy_(mean)
    module.surface_head.std.copy_(std)
    for layer in color_layers(module):
        layer.requires_grad_(True)

    def loss(batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            seen, _ = _lifted(module, batch.given)
        error = measure(module.colors(*seen), batch)
        return error, {"error": error.detach()}

    return Part("colors", module, batch, loss)


def picture_part(module: LiftingImageEncoder, batch: Callable[[int], PictureBatch]) -> Part[PictureBatch]:
    """Shape and colours of a trained encoder of pictures, trained further together."""
    for one in (module.structure_head.encoder, module.surface_head, *_pretrained(module)):
        one.requires_grad_(False)

    def loss(batch: PictureBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        seen, volume = _lifted(module, batch.given)
        logits = module.structure_head.occupancy(volume)
        shape, numbers = shape_loss(logits, batch.occupied, batch.solid)
        color = color_loss(module.colors(*seen), batch.tints, batch.near)
        return shape + color, {**numbers, "color": color.detach()}

    return Part("lifting", module, batch, loss)


def shape_loss(logits: Tensor, occupied: Tensor, solid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the logits of surface and solid, dimension 1, against the truth, and numbers to log."""
    crossed, filled = logits.split(1, dim=1)
    error = occupancy_loss(crossed, occupied)
    numbers = {
        "surface": error.detach(),
        "iou": iou(crossed - SURFACE_CUT, occupied),
        "iou_solid": iou(filled, solid),
    }
    return error + SOLID_WEIGHT * occupancy_loss(filled, solid, SOLID_BCE), numbers


def color_loss(predicted: Tensor, tints: Tensor, near: Tensor) -> Tensor:
    """Mean distance of colours in [−1, 1] (B, 3, r, r, r) from u8 ones where they are known, in [0, 1]."""
    error = color_distance(predicted, tints).mean(1)
    return (error * near).sum() / near.sum().clamp(min=1)


def color_distance(predicted: Tensor, tints: Tensor) -> Tensor:
    """How far colours in [−1, 1] are from u8 ones, channel by channel, in [0, 1]."""
    return (predicted.float() - (tints / 127.5 - 1)).abs() / 2


def _pretrained(module: Encoder) -> tuple[nn.Module, ...]:
    """What stays as it came: a few thousand objects would teach it less than the photographs did."""
    guide = module.guide if isinstance(module, LiftingImageEncoder) else None
    return () if guide is None else (guide.network,)


def _lifted(module: Encoder, given: Tensor) -> tuple[tuple[Any, ...], Tensor]:
    """What the colours are predicted from, and the finished volume (B, C, r, r, r)."""
    if isinstance(module, LiftingTextEncoder):
        volume = module.volume(given)
        return (volume, given), volume
    pictures = pixels(given)
    planes, volumes = module.lift(pictures)
    return (pictures, planes, volumes), volumes[-1]


def _occupancy(head: OccupancyGuess, volume: Tensor, cells: Tensor) -> Tensor:
    """Logits (B, 2, n, block³) of some cells (n,) of a volume (B, C, r, r, r)."""
    norm, activation, conv = head.head
    features = activation(norm(volume)).flatten(2)[:, :, cells].transpose(1, 2)
    logits = F.linear(features, conv.weight.flatten(1), conv.bias).float()
    return logits.unflatten(2, (2, -1)).transpose(1, 2)


def _voxels(head: OccupancyGuess, occupied: Tensor, cells: Tensor) -> Tensor:
    """What the logits of these cells should be: (B, 1, R, R, R) -> (B, 1, n, block³)."""
    return patchify(occupied, head.config.block).flatten(2)[:, :, cells].transpose(1, 2)[:, None]
