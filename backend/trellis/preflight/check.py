"""One sentence with numbers and a remedy where a request does not fit into the free memory.

What leaves the device between the stages is counted as `Residency` will do it: a card of 8 GB runs the large
models. Nothing is refused that may run: where the free memory is not known, it is taken to be enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from backend.checkpoints.find_model import models_folder
from backend.errors import NotEnoughMemory
from backend.machine.device import choose_dtype
from backend.machine.memory import available_memory_bytes
from backend.trellis.networks import Networks
from backend.trellis.preflight.need import FEWEST_VOXELS, stage_weights, stage_working
from backend.trellis.residency import free_bytes, peak_bytes
from blender_trellis.protocol.messages import Remedy

WORDS = {
    "condition": "reading the picture or sentence",
    "sparse_structure": "shaping",
    "decode_sparse_structure": "finding the shape",
    "structured_latent": "detailing",
    "decode_gaussian": "making Gaussians",
    "decode_radiance_field": "making the radiance field",
    "decode_mesh": "making the mesh",
}


@dataclass(frozen=True)
class Need:
    """Bytes by stage, of weights and of what is allocated beside them."""

    weights: Mapping[str, int]
    working: Mapping[str, int]

    def peak(self, setting: str) -> tuple[str, int]:
        """The stage that needs most under a memory setting, and how much that is."""
        peaks = peak_bytes(self.weights, self.working, setting)
        return max(peaks.items(), key=lambda one: one[1]) if peaks else ("", 0)


@dataclass(frozen=True)
class Shortage:
    """Why a request does not fit, and the setting that mends it, where one does."""

    sentence: str
    remedy: Remedy


def shortage(model: str, device: str, need: Need, halved: Need, setting: str, free: int) -> Shortage | None:
    """None where the need fits into `free` bytes; `halved` is the same need in half precision.

    On a processor (device "cpu") nothing leaves, so that all weights count at once.
    """
    held = "keep" if device == "cpu" else setting
    stage, most = need.peak(held)
    if free <= 0 or most <= free:
        return None
    remedy: Remedy = ""
    words = "close other programs, ask for fewer formats, or choose a smaller model"
    if held == "keep" and device != "cpu" and need.peak("auto")[1] <= free:
        remedy, words = "free_parts", "let parts leave the card between their stages (Memory: Automatic)"
    elif halved.peak(held)[1] <= free:
        remedy, words = "half_precision", f"take half precision (Precision: {_half_called(device)})"
    elif halved.peak("auto")[1] <= free and device != "cpu":
        remedy, words = "half_precision", "take half precision and Memory: Automatic"
    where = "memory" if device == "cpu" else f"memory on {device}"
    return Shortage(
        f"{model} needs about {most / 1e9:.1f} GB of {where} for {WORDS.get(stage, stage)}, and "
        f"{free / 1e9:.1f} GB are free: {words}.",
        remedy,
    )


def _half_called(device: str) -> str:
    """What half precision is called in the preferences: fp16 is refused on a processor."""
    return "16 Bit (bfloat)" if device == "cpu" else "16 Bit"


def require_memory(networks: Networks, formats: tuple[str, ...], voxels: int = FEWEST_VOXELS) -> None:
    """NotEnoughMemory where the request will not fit on its device, on an object of so many voxels.

    Before the voxels are known, so few are taken that hardly any object has fewer.
    """
    need, halved = (_need(networks, formats, voxels, dtype) for dtype in (networks.dtype, _half(networks)))
    device, setting = networks.device, networks.residency.setting
    found = shortage(networks.folder.name, str(device), need, halved, setting, _free(networks))
    if found is not None:
        raise NotEnoughMemory(found.sentence, found.remedy)


def _need(networks: Networks, formats: tuple[str, ...], voxels: int, dtype: torch.dtype) -> Need:
    return Need(
        stage_weights(networks.folder, formats, dtype, (models_folder(),)),
        stage_working(networks.folder, formats, voxels, dtype),
    )


def _half(networks: Networks) -> torch.dtype:
    """What "half" is on the device; 32 bit on a processor that has no other."""
    return choose_dtype(networks.device, "auto")


def _free(networks: Networks) -> int:
    """What is free, with what our own networks hold there; 0 where it is not known."""
    device = networks.device
    free = available_memory_bytes() if device.type == "cpu" else free_bytes(device)
    return free + networks.resident_bytes() if free else 0
