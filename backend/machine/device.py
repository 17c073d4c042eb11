"""Where the networks run and in which precision."""

import logging
from dataclasses import dataclass

import torch

from backend.errors import UserError
from backend.machine.memory import total_memory_bytes

log = logging.getLogger(__name__)

PRECISIONS = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "fp16": torch.float16,
    "float16": torch.float16,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class DeviceInfo:
    """One device: `name` as `choose_device` takes it, `kind` for people, memory in bytes (0 if unknown)."""

    name: str
    kind: str
    memory_bytes: int


def devices() -> tuple[DeviceInfo, ...]:
    """The devices of this machine, the preferred one first."""
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append(DeviceInfo(f"cuda:{index}", properties.name, properties.total_memory))
    memory = total_memory_bytes()
    if torch.backends.mps.is_available():
        found.append(DeviceInfo("mps", "Apple GPU", memory))
    found.append(DeviceInfo("cpu", "Processor", memory))
    return tuple(found)


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:1" or "mps" -> device; UserError if this machine lacks it."""
    names = [device.name for device in devices()]
    wanted = names[0] if name == "auto" else "cuda:0" if name == "cuda" else name
    if wanted not in names:
        raise UserError(f"This machine has no device {name}: choose auto or one of {', '.join(names)}.")
    return torch.device(wanted)


def choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    """Precision of the torsos by name: auto, fp32, bf16 or fp16.

    A processor refuses fp16, and takes fp32 for bf16 where it has no instructions for it.
    """
    if precision == "auto":
        if device.type == "cpu":
            return torch.bfloat16 if _processor_has_bf16() else torch.float32
        return torch.float16
    if precision not in PRECISIONS:
        raise UserError(f"There is no precision {precision}: choose auto, fp32, bf16 or fp16.")
    if device.type == "cpu" and PRECISIONS[precision] == torch.float16:
        raise UserError("Half precision (fp16) is too slow on a processor: choose auto, bf16 or fp32.")
    if device.type == "cpu" and PRECISIONS[precision] == torch.bfloat16 and not _processor_has_bf16():
        log.warning("This processor has no bf16 instructions, without which fp32 is faster: fp32 is taken.")
        return torch.float32
    return PRECISIONS[precision]


def mixed_precision(device: torch.device, wanted: bool = True) -> torch.autocast:
    """A context that computes in bf16 where that is wanted and the device has instructions for it.

    A processor without them imitates bf16, thirty times slower than it computes in fp32.
    """
    native = device.type != "cpu" or _processor_has_bf16()
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and native)


def _processor_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
