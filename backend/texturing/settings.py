"""What an artist can choose about a texture, and the refusal of what makes no sense."""

from dataclasses import dataclass
from typing import Literal, get_args

from backend.errors import UserError

Symmetry = Literal["off", "auto", "on"]
SMALLEST, LARGEST = 16, 4096
Encoding = Literal["png", "jpeg", "webp"]
ENCODINGS: tuple[Encoding, ...] = ("png", "jpeg", "webp")
MATERIALS: dict[str, tuple[float, float]] = {
    "matte": (1.0, 0.0),
    "satin": (0.6, 0.0),
    "glossy": (0.25, 0.0),
    "metal": (0.35, 1.0),
}
"""Roughness and metallic of each preset."""


@dataclass(frozen=True)
class TextureSettings:
    """size: texels a side, a power of two. padding: least texels between two charts.

    project_picture: bake the pixels of given pictures onto what they see. symmetry: whether the far side gets
    what pictures show of the near side: "off", "auto" where the mesh mirrors itself, or "on" in any case.
    delight: divide the light out of the pictures. material: a name of MATERIALS. Raises UserError for what
    cannot be.
    """

    size: int = 2048
    padding: int = 2
    project_picture: bool = True
    symmetry: Symmetry = "off"
    delight: bool = False
    material: str = "matte"
    encoding: Encoding = "png"

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST or self.size & (self.size - 1):
            raise UserError(
                f"A texture cannot have {self.size} texels a side; choose a power of two up to {LARGEST}, "
                "such as 512, 1024 or 2048."
            )
        if not 0 <= self.padding <= self.size // 8:
            raise UserError(
                f"A padding of {self.padding} texels does not suit a texture of {self.size}; "
                f"choose 0 to {self.size // 8}."
            )
        if self.material not in MATERIALS:
            raise UserError(f"There is no material {self.material!r}; choose of {', '.join(MATERIALS)}.")
        if self.symmetry not in get_args(Symmetry):
            raise UserError(
                f"The symmetry cannot be {self.symmetry!r}; choose of {', '.join(get_args(Symmetry))}."
            )
        if self.encoding not in ENCODINGS:
            raise UserError(
                f"Textures cannot be stored as {self.encoding!r}; choose of {', '.join(ENCODINGS)}."
            )
