"""How a region of an asset is changed."""

from dataclasses import dataclass
from typing import Literal

import torch

from backend.errors import UserError
from backend.trellis.asset import AssetLatents
from backend.trellis.decoding import Report
from backend.trellis.editing.region import Masks
from backend.trellis.networks import Networks
from backend.trellis.stages import Settings
from blender_trellis.protocol import EditMode


@dataclass(frozen=True)
class EditSettings:
    """How a region is changed.

    mode: "replace" makes shape and look anew, "add" keeps what is there and adds to it, "look" keeps the
    shape, "remove" takes the region's voxels away. start: below full strength, sampling starts from latents
    of the "guide" (where the model has them) or of the "asset". margin: voxels round the region whose
    surface may adapt. growth: cells of the structure latent round the region that are sampled too. jumps:
    passes of a step. close_cut: whether "remove" leaves a lid where the inside would show.
    """

    sampling: Settings
    mode: EditMode = "replace"
    seed: int = 1
    start: Literal["guide", "asset"] = "guide"
    margin: int = 2
    growth: int = 1
    jumps: int = 1
    close_cut: bool = True

    def checked(self) -> "EditSettings":
        """Self, or a UserError that names the setting out of range."""
        for name, highest in (("margin", 16), ("growth", 4)):
            if not 0 <= getattr(self, name) <= highest:
                raise UserError(f"The {name} is {getattr(self, name)}; choose 0 to {highest}.")
        if not 1 <= self.jumps <= 50:
            raise UserError(f"The number of jumps is {self.jumps}; choose 1 to 50.")
        return self


@dataclass(frozen=True)
class Change:
    """One edit under way: of what, where and how.

    random: what generation draws, in its order · extra: all that editing draws beside.
    """

    networks: Networks
    asset: AssetLatents
    masks: Masks
    settings: EditSettings
    random: torch.Generator
    extra: torch.Generator
    report: Report
