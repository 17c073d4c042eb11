"""The starter's image encoder: picture (B, 4, H, W) -> volume features -> tokens and first guesses of both
latents.

A 2-D U-Net reads the picture at 128², its features are projected pixel-aligned into a 16³ volume through one
nominal camera on −Y, and a 3-D U-Net completes what the picture does not show. Features of a network that
knows photographs, made of the picture at 256², help both to tell what it is. The volume is the unit cube,
view-aligned: the picture's right is +X, up is +Z, the camera looks along +Y. How large the object stands in
the crop depends on its depth and the camera, so the volume has to find that out.
Dims: B batch · L tokens · C channels · R resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import parse_config, require
from backend.layers.dense_conv import DenseConv3d
from backend.lifting.occupancy import OccupancyGuess, OccupancyGuessConfig
from backend.lifting.outline import NominalCamera, Outline
from backend.lifting.picture_features import SHOWN, PictureFeatures
from backend.lifting.solid import SolidGuess
from backend.lifting.surface import COARSE_CELLS, SurfaceGuess, SurfaceGuessConfig, shape_share
from backend.models.network import zero_
from backend.models.sparse_structure_flow import unpatchify

_LEAST_ALPHA = 0.05  # what background removers leave of the background is less


@dataclass(frozen=True)
class LiftingEncoderConfig:
    """Sizes of the encoder; the fields are the keys of the checkpoint's JSON file. Angles are degrees.

    image_size: of the picture that the U-Net reads; the pretrained features, if any, are made of one twice as
    wide. volume_blocks: residual blocks of the volume's levels on the way up, finest first; one each if not
    given.
    """

    image_size: int = 128
    pretrained_features: bool = False
    plane_channels: tuple[int, ...] = (48, 96, 128, 160)
    volume_channels: tuple[int, ...] = (64, 128, 160)
    volume_blocks: tuple[int, ...] = ()
    volume_resolution: int = 16
    occupancy: OccupancyGuessConfig = OccupancyGuessConfig()
    surface: SurfaceGuessConfig = SurfaceGuessConfig()
    color_hidden: int = 24
    picture_tokens: int = 8
    cond_channels: int = 256
    elevation: float = 17.5
    fov: float = 37.5

    @property
    def picture_size(self) -> int:
        """Of the picture to give the encoder; another is resized."""
        return 2 * self.image_size if self.pretrained_features else self.image_size


@dataclass(frozen=True)
class LiftedCondition:
    """What the flows start from and attend to.

    tokens (B, L, C) · structure_start (B, Cz, r, r, r), normalised · solids: what each picture shows of its
    object's solid · aligned (B, Cz + C', r, r, r): the guessed structure and the volume, for a flow that
    takes them by cell.
    """

    tokens: Tensor
    structure_start: Tensor
    solids: tuple[SolidGuess, ...]
    aligned: Tensor


class ResBlock(nn.Module):
    """Norm, SiLU, convolution, twice, beside a skip; 2-D or 3-D by the convolution class."""

    def __init__(self, conv: type[nn.Module], channels_in: int, channels: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = conv(channels_in, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = conv(channels, channels, 3, padding=1)
        zero_(self.conv2)
        self.skip = conv(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    """One residual block a level on the way down and, if `blocks` (finest first) asks for no more, up.

    Returns the maps of the way up, coarsest first.
    """

    def __init__(
        self,
        conv: type[nn.Module],
        channels_in: int,
        channels: tuple[int, ...],
        blocks: tuple[int, ...] = (),
    ):
        super().__init__()
        blocks = blocks or (1,) * len(channels)
        require(
            len(blocks) == len(channels) and min(blocks) > 0,
            f"The blocks of {len(channels)} levels are {len(channels)} numbers from 1 on, not {blocks}.",
        )
        self.input = conv(channels_in, channels[0], 3, padding=1)
        self.down = nn.ModuleList(ResBlock(conv, c, c) for c in channels)
        self.reduce = nn.ModuleList(
            conv(a, b, 2, stride=2) for a, b in zip(channels, channels[1:], strict=False)
        )
        self.middle = ResBlock(conv, channels[-1], channels[-1])
        self.up = nn.ModuleList(
            ResBlock(conv, a + b, a) for a, b in reversed(list(zip(channels, channels[1:], strict=False)))
        )
        self.more = nn.ModuleList(
            nn.Sequential(*(ResBlock(conv, c, c) for _ in range(count - 1)))
            for c, count in zip(reversed(channels), reversed(blocks), strict=True)
        )

    def forward(self, x: Tensor, added: Mapping[int, Tensor] = {}) -> list[Tensor]:
        """added: what comes to the map of a level on the way down, 0 the finest."""
        x = self.input(x)
        skips = []
        for i, block in enumerate(self.down):
            x = block(x + added[i] if i in added else x)
            if i < len(self.reduce):
                skips.append(x)
                x = self.reduce[i](x)
        x = self.more[0](self.middle(x))
        maps = [x]
        for block, more in zip(self.up, self.more[1:], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = more(block(torch.cat([x, skips.pop()], dim=1)))
            maps.append(x)
        return maps


class FeatureGuide(nn.Module):
    """Pretrained features of a picture, brought to the levels of both U-Nets; at first they add nothing.

    `forward` takes pixels (B, 4, S, S) and where the volume's cells fall in the picture, (R³, 2), and returns
    what comes to the levels of the picture's U-Net and to those of the volume's.
    """

    def __init__(self, config: LiftingEncoderConfig):
        super().__init__()
        fine, middle, coarse = SHOWN.values()
        planes, volumes = config.plane_channels, config.volume_channels
        require(
            len(planes) == 1 + len(SHOWN),
            f"Pretrained features go to {len(SHOWN)} levels below the first, so plane_channels needs"
            f" {1 + len(SHOWN)} numbers, not {len(planes)}.",
        )
        self.lowest = len(volumes) - 1
        self.network = PictureFeatures()
        self.to_planes = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip((fine, middle, coarse), planes[1:], strict=True)
        )
        self.to_cells = nn.ModuleList(nn.Conv2d(a, volumes[0], 1) for a in (middle, coarse))
        self.to_whole = nn.Linear(coarse, volumes[-1])
        for layer in (self.to_planes, self.to_cells, self.to_whole):
            zero_(layer)

    def forward(self, pixels: Tensor, grid: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        color, alpha = _foreground(pixels)
        maps = self.network(color + 1 - alpha)  # on white, as most product photographs
        in_planes = {
            level + 1: layer(x) for level, (layer, x) in enumerate(zip(self.to_planes, maps, strict=True))
        }
        cells = [_sample(layer(x), grid) for layer, x in zip(self.to_cells, maps[1:], strict=True)]
        whole = self.to_whole(maps[-1].mean((2, 3)))[:, :, None, None, None]
        return in_planes, {0: cells[0] + cells[1], self.lowest: whole}


class LiftingImageEncoder(nn.Module):
    """See the module docstring. `forward` takes pixels (B, 4, H, W) in [0, 1], colour on black and alpha."""

    Config = LiftingEncoderConfig

    def __init__(self, config: LiftingEncoderConfig):
        super().__init__()
        self.config = config
        wide, volume = config.plane_channels[0], config.volume_channels
        self.stem = nn.Conv2d(6, wide, 4, stride=2, padding=1)
        self.picture = UNet(nn.Conv2d, wide, config.plane_channels)
        self.volume = UNet(nn.Conv3d, wide + 3, volume, config.volume_blocks)
        self.guide = FeatureGuide(config) if config.pretrained_features else None
        self.structure_head = OccupancyGuess(volume[0], config.occupancy)
        self.surface_head = SurfaceGuess(config.surface)
        hidden = config.color_hidden
        self.color_expand = nn.Conv3d(volume[0], hidden * 8, 1)
        self.color_picture = nn.Conv2d(wide, hidden, 1)
        self.color_block = ResBlock(nn.Conv3d, hidden, hidden)
        self.color_head = _head(hidden, 3)
        zero_(self.color_head[-1])
        for name, size in (
            ("volume_grid", config.volume_resolution),
            ("color_grid", 2 * config.volume_resolution),
        ):
            self.register_buffer(name, projection_grid(size, config.elevation, config.fov), persistent=False)
        self.register_buffer("volume_place", _cell_centres(config.volume_resolution), persistent=False)

    @classmethod
    def from_args(cls, args: dict) -> LiftingImageEncoder:
        """Builds the module from a checkpoint's JSON arguments; UserError on an unknown or wrong field."""
        return cls(parse_config(cls.Config, args, cls.__name__))

    def forward(self, pixels: Tensor) -> LiftedCondition:
        pixels = _resized(pixels, self.config.picture_size)
        planes, volumes = self.lift(pixels)
        logits = self.occupancy(pixels, volumes[-1])
        pixels = _resized(pixels, self.config.image_size)
        share, inside, counted = shape_share(self.structure_head, self.surface_head, logits, self._fine)
        structure = self.structure_head(share)
        outlines = [
            outline_of(self.config, one[3]).fitted(of[0]) for one, of in zip(pixels, inside, strict=True)
        ]
        grid = torch.stack([one.seen(self.color_grid) for one in outlines])[:, None]
        colors = self.colors(pixels, planes, volumes, grid)
        solids = tuple(
            SolidGuess(
                inside[n, 0],
                colors[n],
                self.surface_head,
                structure[n : n + 1],
                outline,
                counted=counted[n, 0],
            )
            for n, outline in enumerate(outlines)
        )
        aligned = self.aligned(structure, volumes)
        return LiftedCondition(self.tokens(planes, volumes), structure, solids, aligned)

    @property
    def _fine(self) -> int:
        """Voxels a side of the structured latent."""
        return 2 * self.config.volume_resolution

    def lift(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Feature maps of the picture (B, 4, S, S) and of the volume, coarsest first."""
        in_picture, in_volume = ({}, {}) if self.guide is None else self.guide(pixels, self.volume_grid)
        small = _resized(pixels, self.config.image_size)
        planes = self.picture(self.stem(self._picture_input(small)), in_picture)
        return planes, self.volume(self._lift(planes[-1]), in_volume)

    def _picture_input(self, pixels: Tensor) -> Tensor:
        """(B, 4, S, S) -> (B, 6, S, S): colour, share of the object, column and row position."""
        color, alpha = _foreground(pixels)
        ramp = torch.linspace(-1, 1, pixels.shape[-1], dtype=pixels.dtype, device=pixels.device)
        rows, columns = torch.meshgrid(ramp, ramp, indexing="ij")
        place = torch.stack([columns, rows]).expand(pixels.shape[0], -1, -1, -1)
        return torch.cat([color * 2 - 1, alpha, place], dim=1)

    def _lift(self, plane: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C + 3, R, R, R): every cell takes the feature of the pixel it projects to."""
        lifted = _sample(plane, self.volume_grid)
        place = self.volume_place.to(lifted.dtype).expand(lifted.shape[0], -1, -1, -1, -1)
        return torch.cat([lifted, place], dim=1)

    def occupancy(self, pixels: Tensor, volume: Tensor) -> Tensor:
        """Logits (B, 2, R, R, R) from the picture and from its mirror image, whose errors differ."""
        guess = self.structure_head
        mirrored = guess.occupancy(self.lift(pixels.flip(-1))[1][-1]).flip(2)
        return (guess.occupancy(volume) + mirrored) / 2

    def colors(
        self, pixels: Tensor, planes: list[Tensor], volumes: list[Tensor], grid: Tensor | None = None
    ) -> Tensor:
        """Colour of the surface, were it there, in all voxels: (B, 3, R, R, R) in [−1, 1].

        grid (B, 1, R³, 2): where they fall in the picture, if that is known. The colour is that of the pixel
        where the voxel falls, or of the nearest ones on the object, and a correction for light and for what
        the picture does not show.
        """
        places = self.color_grid if grid is None else grid
        small = _resized(pixels, self.config.image_size)
        seen = _sample(spread_colors(*_foreground(small)), places) * 2 - 1
        fine = _sample(self.color_picture(planes[-1]), self.color_grid)
        hidden = self.color_block(unpatchify(self.color_expand(volumes[-1]), 2) + fine)
        return (seen + self.color_head(hidden)).clamp(-1, 1)

    def aligned(self, structure_start: Tensor, volumes: list[Tensor]) -> Tensor:
        """(B, Cz + C, r, r, r): the structure's guess and the finished volume, every cell normalised."""
        volume = volumes[-1].float()
        return torch.cat(
            [structure_start, F.layer_norm(volume.movedim(1, -1), volume.shape[1:2]).movedim(-1, 1)], 1
        )

    def from_both_sides(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """tokens and aligned (2B, …) of pictures (B, 4, S, S) and then of their mirror images.

        The encoder looks at every picture from both sides, so the mirror images cost nothing more.
        """
        planes, volumes = self.lift(torch.cat([pixels, pixels.flip(-1)]))
        straight, mirrored = self.structure_head.occupancy(volumes[-1]).chunk(2)
        logits = (straight + mirrored.flip(2)) / 2
        share, *_ = shape_share(self.structure_head, self.surface_head, logits, self._fine)
        guess = self.structure_head(torch.cat([share, share.flip(2)]))
        return self.tokens(planes, volumes), self.aligned(guess, volumes)

    def tokens(self, planes: list[Tensor], volumes: list[Tensor]) -> Tensor:
        """(B, L, C): volume cells then picture cells, each normalised, with its position embedding."""
        size = self.config.picture_tokens
        volume, plane = volumes[-2], F.adaptive_avg_pool2d(planes[-3], size)
        # A picture cell lies on the plane the camera looks at, so both kinds share one space of positions.
        ahead = torch.linspace(1, -1, size, device=plane.device)
        across = torch.linspace(-1, 1, size, device=plane.device)
        z, x = torch.meshgrid(ahead, across, indexing="ij")
        picture_place = torch.stack([x, torch.full_like(x, -1.5), z]).flatten(1).T
        volume_place = _cell_centres(volume.shape[-1]).to(plane.device).flatten(1).T
        return torch.cat([self._placed(volume, volume_place), self._placed(plane, picture_place)], dim=1)

    def _placed(self, features: Tensor, place: Tensor) -> Tensor:
        """(B, C, ...) and places (L, 3) in [−1.5, 1] -> (B, L, cond_channels)."""
        features = features.float().flatten(2).transpose(1, 2)
        features = F.layer_norm(features, features.shape[-1:])
        room = self.config.cond_channels - features.shape[-1]
        bands = torch.arange(room // 6, device=place.device, dtype=torch.float32)
        angles = place.float()[..., None] * (math.pi / 2) * 2 ** (bands * 5 / max(len(bands) - 1, 1))
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
        waves = F.pad(waves, (0, room - waves.shape[-1])).expand(features.shape[0], -1, -1)
        return torch.cat([features, waves], dim=-1)


def _foreground(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 4, S, S) -> colour (B, 3, S, S) and alpha (B, 1, S, S), both 0 where there is next to no object."""
    color, alpha = (pixels * (pixels[:, 3:] > _LEAST_ALPHA)).split((3, 1), dim=1)
    return color, alpha


def spread_colors(colors: Tensor, alpha: Tensor) -> Tensor:
    """The object's colours everywhere: (B, 3, S, S) on black with alpha (B, 1, S, S) -> without.

    Where alpha is 0 they are those of what is nearest within: means over 2², 4², … pixels are made until they
    hold some of the object (a push-pull pyramid).
    """
    levels = [(colors, alpha)]
    while levels[-1][0].shape[-1] % 2 == 0:
        known, weight = levels[-1]
        levels.append((F.avg_pool2d(known, 2), F.avg_pool2d(weight, 2)))
    known, weight = levels.pop()
    result = known / weight.clamp(min=1e-6)
    for known, weight in reversed(levels):
        coarse = F.interpolate(result, scale_factor=2, mode="nearest")
        result = torch.where(weight > 0, known / weight.clamp(min=1e-6), coarse)
    return result


def projection_grid(resolution: int, elevation: float, fov: float) -> Tensor:
    """Where the cells of the unit cube fall in the cropped picture: (R³, 2), columns then rows, in [−1, 1]
    inside.

    The nominal camera stands on −Y, raised by `elevation` degrees.
    """
    return NominalCamera(elevation, fov).project(_cell_centres(resolution).flatten(1).T / 2)[0]


def outline_of(config: LiftingEncoderConfig, alpha: Tensor) -> Outline:
    """The outline that a picture's alpha (S, S) gives what is decoded with this encoder's volume."""
    # As it is stored with an asset, so that the asset decodes to the same again.
    elevation, fov = torch.tensor([config.elevation, config.fov], dtype=torch.float32).tolist()
    alpha = (alpha * 255).round() / 255
    return Outline(alpha, NominalCamera(elevation, fov), COARSE_CELLS * 2 * config.volume_resolution)


def _resized(pixels: Tensor, size: int) -> Tensor:
    """(B, C, S, S) -> (B, C, size, size)."""
    if pixels.shape[-1] == size:
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)


def _cell_centres(resolution: int) -> Tensor:
    """(3, R, R, R): x, y, z of the cell centres in [−1, 1]."""
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))


def _sample(plane: Tensor, grid: Tensor) -> Tensor:
    """(B, C, h, w) at grid (R³, 2), or (B, 1, R³, 2), -> (B, C, R, R, R)."""
    size = round(grid.shape[-2] ** (1 / 3))
    places = grid.to(plane.dtype).expand(plane.shape[0], 1, -1, -1)
    sampled = F.grid_sample(plane, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.reshape(*plane.shape[:2], size, size, size)


def _head(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(8, channels_in), nn.SiLU(), DenseConv3d(channels_in, channels, 3, padding=1)
    )
