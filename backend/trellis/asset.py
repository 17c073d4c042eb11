"""The latents that an asset was decoded from, and their file: what later edits start from.

L voxels of the structured latent · r³ cells of the structure latent · R³ voxels of the structure decoder.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.errors import UserError
from backend.lifting.outline import NominalCamera, Outline
from backend.lifting.surface import COARSE_CELLS
from backend.tensor_files import write_tensors
from backend.trellis.decoding import Layer, StructuredLatent

SUFFIX = ".latents.safetensors"
_FORMAT = "1"
_LARGEST_OUTLINE = 1024
_KINDS = {
    "structure_latent": (torch.float32, 5),
    "occupied": (torch.uint8, 1),
    "coords": (torch.int32, 2),
    "feats": (torch.float32, 2),
    "source": (torch.uint8, 2),
    "layer_sizes": (torch.int32, 1),
    "layer_coords": (torch.int32, 2),
    "layer_feats": (torch.float32, 2),
    "outline_alpha": (torch.uint8, 3),
    "outline_view": (torch.float32, 2),
    "within": (torch.uint8, 1),
}
"""What numbers each tensor of an asset holds, and along how many axes."""


@dataclass(frozen=True)
class AssetLatents:
    """structure_latent (1, C, r, r, r), feats (L, C) f32 on coords (L, 3) i32 in their sorted order, and the
    voxels that the structure decoder occupied, (R, R, R) bool. Half precision would break the recomputation.
    guide_hash: of what the asset was made from, "" where that is not known. layers, source, outline, within:
    as of a StructuredLatent.
    """

    structure_latent: Tensor
    occupied: Tensor
    coords: Tensor
    feats: Tensor
    resolution: int
    model: str
    model_hash: str
    guide_hash: str = ""
    layers: tuple[Layer, ...] = ()
    source: Tensor | None = None
    outline: Outline | None = None
    within: Tensor | None = None

    @property
    def latent(self) -> StructuredLatent:
        """What decoders read of it."""
        return StructuredLatent(
            self.coords, self.feats, self.resolution, self.layers, self.source, self.outline, self.within
        )

    def to(self, device: torch.device) -> "AssetLatents":
        """The same on a device."""
        return replace(
            self,
            structure_latent=self.structure_latent.to(device),
            occupied=self.occupied.to(device),
            coords=self.coords.to(device),
            feats=self.feats.to(device),
            layers=tuple(
                Layer(one.coords.to(device), one.feats.to(device), _moved(one.outline, device))
                for one in self.layers
            ),
            source=None if self.source is None else self.source.to(device),
            outline=_moved(self.outline, device),
            within=None if self.within is None else self.within.to(device),
        )


def _moved(outline: Outline | None, device: torch.device) -> Outline | None:
    return None if outline is None else outline.to(device)


def hash_of_guide(pictures: Sequence[bytes], prompt: str = "") -> str:
    """What tells guides apart: of the picture files, or of the sentence; "" where there is neither."""
    content = b"".join(pictures) or prompt.strip().encode()
    return hashlib.sha256(content).hexdigest() if content else ""


def latents_of(outputs: Mapping[str, Any], model: str, model_hash: str, guide_hash: str = "") -> AssetLatents:
    """What the outputs of a generation, by kind, say of the asset that they are of."""
    voxels, latent = outputs["voxels"], outputs["structured_latent"]
    return AssetLatents(
        outputs["structure_latent"],
        voxels.occupied,
        latent.coords,
        latent.feats,
        latent.resolution,
        model,
        model_hash,
        guide_hash,
        latent.layers,
        latent.source,
        latent.outline,
        latent.within,
    )


def optional_tensors(latent: StructuredLatent) -> dict[str, Tensor]:
    """Layers, outlines and what lies within, as they are stored and sent; nothing where there are none."""
    within = {} if latent.within is None else {"within": packed_bits(latent.within)}
    return _layer_tensors(latent) | _outline_tensors(latent) | within


def with_optional(asset: AssetLatents, tensors: Mapping[str, Tensor]) -> AssetLatents:
    """The asset with what `optional_tensors` made. ValueError that says what does not fit."""
    _require_kinds(tensors)
    return _with_within(_with_outlines(_with_layers(asset, tensors), tensors), tensors)


def _layer_tensors(latent: StructuredLatent) -> dict[str, Tensor]:
    """The layers one after the other."""
    if latent.source is None or not latent.layers:
        return {}
    return {
        "source": latent.source,
        "layer_sizes": torch.tensor([len(one.coords) for one in latent.layers], dtype=torch.int32),
        "layer_coords": torch.cat([one.coords for one in latent.layers]).int(),
        "layer_feats": torch.cat([one.feats for one in latent.layers]).float(),
    }


def _outline_tensors(latent: StructuredLatent) -> dict[str, Tensor]:
    """The outlines of the layers and then of the latents themselves; one that shows everything is none."""
    outlines = [*(one.outline for one in latent.layers), latent.outline]
    size = next((one.alpha.shape for one in outlines if one is not None), None)
    if size is None:
        return {}
    nothing = torch.full(size, 255, dtype=torch.uint8), torch.zeros(5)
    alphas, views = zip(*(nothing if one is None else _stored(one) for one in outlines), strict=True)
    return {"outline_alpha": torch.stack(alphas), "outline_view": torch.stack(views)}


def _stored(outline: Outline) -> tuple[Tensor, Tensor]:
    camera = outline.camera
    view = torch.tensor([camera.elevation, camera.fov, outline.scale, *outline.shift], dtype=torch.float32)
    return (outline.alpha * 255).round().to("cpu", torch.uint8), view


def _with_outlines(asset: AssetLatents, tensors: Mapping[str, Tensor]) -> AssetLatents:
    if "outline_alpha" not in tensors:
        return asset
    alphas, views = tensors["outline_alpha"], tensors["outline_view"]
    count, shows = len(asset.layers) + 1, (alphas < 255).flatten(1).any(1)
    faults = {
        "outlines and layers are not equally many": len(alphas) != count or views.shape != (count, 5),
        "an outline is not square": alphas.shape[1] != alphas.shape[2]
        or not 0 < alphas.shape[1] <= _LARGEST_OUTLINE,
    }
    _raise_first(faults)
    faults = {
        "an outline's view is none": not views.isfinite().all() or bool((views[shows, 1:3] <= 0).any()),
    }
    _raise_first(faults)
    cells = COARSE_CELLS * asset.resolution
    outlines = [
        Outline(alpha.float() / 255, NominalCamera(elevation, fov), cells, scale, (x, y)) if there else None
        for there, alpha, (elevation, fov, scale, x, y) in zip(shows, alphas, views.tolist(), strict=True)
    ]
    layers = tuple(replace(one, outline=of) for one, of in zip(asset.layers, outlines[:-1], strict=True))
    return replace(asset, layers=layers, outline=outlines[-1])


def _with_layers(asset: AssetLatents, tensors: Mapping[str, Tensor]) -> AssetLatents:
    if "source" not in tensors:
        return asset
    source, sizes = tensors["source"], tensors["layer_sizes"]
    coords, feats = tensors["layer_coords"], tensors["layer_feats"]
    count, channels = len(sizes), asset.feats.shape[1]
    faults = {
        "layers and voxels are not equally many": source.shape != (len(asset.coords), 2)
        or coords.shape != (int(sizes.sum()), 3)
        or feats.shape != (len(coords), channels),
        "layers are missing": bool((source > count).any()) or bool((sizes <= 0).any()),
    }
    _raise_first(faults)
    outside = len(coords) and (coords.min() < 0 or coords.max() >= asset.resolution)
    _raise_first(
        {"layers lie outside the grid": outside, "values are not finite": not feats.isfinite().all()}
    )
    pieces = zip(coords.int().split(sizes.tolist()), feats.split(sizes.tolist()), strict=True)
    layers = tuple(Layer(*one) for one in pieces)
    return replace(asset, layers=layers, source=source)


def _with_within(asset: AssetLatents, tensors: Mapping[str, Tensor]) -> AssetLatents:
    if "within" not in tensors:
        return asset
    within = _mask(tensors["within"], asset.resolution)
    x, y, z = asset.coords.long().unbind(1)
    _raise_first({"voxels lie within the solid": within[x, y, z].any()})
    return replace(asset, within=within)


def packed_bits(mask: Tensor) -> Tensor:
    """A mask (n, n, n) as bits, packed: u8."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy().ravel()))


def _mask(bits: Tensor, side: int) -> Tensor:
    """What `packed_bits` packed. ValueError where it is none of that side."""
    fits = bits.dtype == torch.uint8 and bits.shape == ((side**3 + 7) // 8,)
    _raise_first({"the structure has another size": not fits})
    mask = np.unpackbits(bits.numpy(), count=side**3).astype(bool)
    return torch.from_numpy(mask).reshape((side,) * 3)


def write_latents(path: Path, asset: AssetLatents) -> None:
    """One safetensors file, which appears whole or not at all."""
    tensors = {
        "structure_latent": asset.structure_latent.float(),
        "occupied": packed_bits(asset.occupied),
        "coords": asset.coords.to(torch.int32),
        "feats": asset.feats.float(),
        **optional_tensors(asset.latent),
    }
    about = {
        "format": _FORMAT,
        "resolution": str(asset.resolution),
        "structure_resolution": str(len(asset.occupied)),
        "model": asset.model,
        "model_hash": asset.model_hash,
        "guide_hash": asset.guide_hash,
    }
    write_tensors(path, tensors, about)


def read_latents(path: Path) -> AssetLatents:
    """What `write_latents` wrote; UserError that names the file where it is something else."""
    if not path.is_file():
        raise UserError(f"There are no latents at {path}; give the {SUFFIX} file that generation wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}); give the file that generation wrote.") from error
    if about.get("format") != _FORMAT:
        raise UserError(f"{path} holds no latents of an asset; give the {SUFFIX} file that generation wrote.")
    try:
        asset = replace(_checked(tensors, about), guide_hash=about.get("guide_hash", ""))
        return with_optional(asset, tensors)
    except (KeyError, ValueError) as error:
        raise UserError(f"The latents in {path} are damaged; generate the asset again.") from error


def _checked(tensors: dict[str, Tensor], about: dict[str, str]) -> AssetLatents:
    return checked_latents(
        tensors["structure_latent"],
        tensors["occupied"],
        tensors["coords"],
        tensors["feats"],
        int(about["resolution"]),
        int(about["structure_resolution"]),
        about["model"],
        about["model_hash"],
    )


def checked_latents(
    structure_latent: Tensor,
    bits: Tensor,
    coords: Tensor,
    feats: Tensor,
    resolution: int,
    finer: int,
    model: str,
    model_hash: str,
) -> AssetLatents:
    """The latents of an asset from what was stored: bits are those of the structure's `finer`³ voxels.

    Raises ValueError that says what does not fit.
    """
    _require_kinds({"structure_latent": structure_latent, "occupied": bits, "coords": coords, "feats": feats})
    faults = {
        "their resolutions do not fit": not 0 < resolution <= finer <= 1024 or finer % resolution != 0,
        "the structure latent has other axes": len(structure_latent) != 1,
        "voxels and latents are not equally many": coords.shape != (len(feats), 3),
        "there is no voxel": len(coords) == 0,
        "values are not finite": not (feats.isfinite().all() and structure_latent.isfinite().all()),
    }
    _raise_first(faults)
    keys = (coords.long() * torch.tensor([resolution**2, resolution, 1])).sum(1)
    outside = coords.min() < 0 or coords.max() >= resolution
    _raise_first(
        {"voxels lie outside the grid": outside, "voxels are out of order": (keys.diff() <= 0).any()}
    )
    occupied = _mask(bits, finer)
    return AssetLatents(structure_latent, occupied, coords.int(), feats, resolution, model, model_hash)


def _require_kinds(tensors: Mapping[str, Tensor]) -> None:
    _raise_first(
        {
            f"{name} holds other numbers or axes": (one.dtype, one.ndim) != _KINDS[name]
            for name, one in tensors.items()
            if name in _KINDS
        }
    )


def _raise_first(faults: Mapping[str, Any]) -> None:
    for fault, found in faults.items():
        if found:
            raise ValueError(fault)
