"""Which models lie on the device while a stage runs: what a request needs, and what leaves meanwhile.

Bytes are those of the tensors that live at the same time, counted from the code of each stage; a graphics
card's driver and allocator take some 0.5 GiB more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from backend.errors import UserError

CONDITIONER = "conditioner"
"""The role of the encoder of pictures or text, which pipeline.json does not list among the models."""
STAGES = {
    "condition": CONDITIONER,
    "sparse_structure": "sparse_structure_flow_model",
    "decode_sparse_structure": "sparse_structure_decoder",
    "structured_latent": "slat_flow_model",
    "decode_gaussian": "slat_decoder_gs",
    "decode_radiance_field": "slat_decoder_rf",
    "decode_mesh": "slat_decoder_mesh",
}
"""The stages in their order and the one model that each runs."""
SETTINGS = ("auto", "keep", "release")


def stages_for(formats: Iterable[str]) -> tuple[str, ...]:
    """The stages of a request for these formats; the decoders of other formats need not be loaded."""
    wanted = {f"decode_{one}" for one in (*formats, "sparse_structure")}
    return tuple(stage for stage in STAGES if not stage.startswith("decode_") or stage in wanted)


@dataclass(frozen=True)
class Residency:
    """Moves models to and from `device`.

    setting: "keep" leaves on the device what once came there, "release" leaves only the model of the stage,
    "auto" releases the others only where the free memory is less than the stage needs.
    """

    device: torch.device
    setting: str = "auto"

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            *others, last = SETTINGS
            raise UserError(
                f"There is no memory setting {self.setting}: choose {', '.join(others)} or {last}."
            )

    def begin(self, stage: str, loaded: Mapping[str, nn.Module], working_bytes: int = 0) -> None:
        """Ready the device for a stage: `loaded` are all models by role, `working_bytes` what it allocates.

        Models that leave lie in the machine's memory until their stage comes again.
        """
        role = STAGES[stage]
        if self.device.type == "cpu":
            return
        model = loaded.get(role)
        missing = 0 if model is None or is_on(model, self.device) else parameter_bytes(model)
        if self.setting == "release" or (
            self.setting == "auto" and free_bytes(self.device) < missing + working_bytes
        ):
            for other, one in loaded.items():
                if other != role:
                    one.to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        if model is not None:
            model.to(self.device)


def free_bytes(device: torch.device) -> int:
    """Memory of a graphics card that tensors can still have, with what torch holds in reserve for them."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    raise ValueError(f"free memory is not known of {device}")


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers as they are stored."""
    return sum(one.nbytes for one in (*model.parameters(), *model.buffers()))


def is_on(model: nn.Module, device: torch.device) -> bool:
    """Whether all of a model's parameters lie there."""
    places = {one.device for one in model.parameters()}
    # A device may be named without its number: tensors on "mps" say that they are on "mps:0".
    return all(one.type == device.type and device.index in (None, one.index) for one in places)


def flow_working_bytes(tokens: int, channels: int, item_bytes: int) -> int:
    """Of a block of the flow on `tokens`, at its largest moment: the feed-forward.

    The stream and its residual, the norm in fp32 and out of place, four times as many channels twice.
    """
    return tokens * channels * (2 * 4 + (2 + 2 * 4) * item_bytes)


def mesh_working_bytes(voxels: int, channels: int, out_channels: int, item_bytes: int) -> int:
    """Of the mesh decoder's finest grid: 64 voxels for one of the structure, an eighth of the channels.

    The larger of two moments: a group norm (three copies in fp32, two in the torso's precision) and the
    output layer (its input in both, its output in fp32); beside them coordinates and neighbours.
    """
    rows, width = 64 * voxels, channels // 8
    norm = width * (3 * 4 + 2 * item_bytes)
    output = width * (4 + item_bytes) + out_channels * 4
    return rows * (max(norm, output) + 27 * 4 + 3 * 8)


def peak_bytes(weights: Mapping[str, int], working: Mapping[str, int], setting: str) -> dict[str, int]:
    """For each stage in `weights` (bytes by stage): weights on the device and working memory together.

    With "keep" the weights of all stages are counted in each, as they are from the second object on.
    """
    everything = sum(weights.values())
    return {
        stage: (everything if setting == "keep" else one) + working.get(stage, 0)
        for stage, one in weights.items()
    }
