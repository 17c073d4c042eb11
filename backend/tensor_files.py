"""Reading and writing safetensors files, with the signs of damage that their format does not show.

Tools that reserve a file's room first leave the right size and zeros behind where they were cut off; a bad
disk or an overflow in training leaves values that are not finite.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.errors import MissingModel, UserError
from backend.files import LARGEST_CHECKPOINT, atomic_path, check_ordinary

Shapes = dict[str, tuple[int, ...]]
"""Tensor names and their shapes."""
_BLOCK = 1 << 16  # values looked at together; trained weights have no such run of zeros
_SMALL = 1 << 12  # values; so few may be zero by design: registers, masks, scales
_TAIL = 1 << 9  # zeros at the end of a tensor, behind which no other value comes, that are no chance
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz)


def read_tensors(path: Path, may_be_zero: Collection[str] | None = None) -> dict[str, Tensor]:
    """All tensors of one safetensors file as they are stored, of float8 as float32.

    Raises MissingModel where there is no file, and UserError where it holds numbers of another kind or is
    damaged: foreign or cut off, values that are not finite, runs of zeros. Vectors and small tensors may be
    zero, and the tensors of `may_be_zero`, which training may never have moved; None: any may.
    """
    check_ordinary(path, LARGEST_CHECKPOINT)
    if not path.is_file():
        raise MissingModel(f"The weights {path} are missing: download the model's whole folder again.")
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            order = file.offset_keys()
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The weights {path} are damaged ({error}): remove the file and download it again."
        ) from error
    for key, tensor in tensors.items():
        if tensor.dtype in _EIGHT_BITS:
            tensors[key] = tensor = tensor.float()  # torch compares no others
        if tensor.dtype not in _NAMES:
            raise UserError(
                f"The weights {path} hold {key} as {tensor.dtype}, which is not read: take them in float16 or"
                " float32."
            )
        _check_finite_and_filled(tensor, key, path, may_be_zero is not None and key not in may_be_zero)
    _check_tail(tensors, order, path)
    return tensors


def read_shapes(path: Path) -> Shapes:
    """The shape of each tensor of a safetensors file, by its header alone; raises as `read_tensors`."""
    check_ordinary(path, LARGEST_CHECKPOINT)
    if not path.is_file():
        raise MissingModel(f"The weights {path} are missing: download the model's whole folder again.")
    try:
        with safe_open(path, "pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The weights {path} are damaged ({error}): remove the file and download it again."
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """One safetensors file, which appears whole or not at all; the same tensors make the same bytes.

    Not the library's save_file: it makes files that only their owner can read, with metadata in an order that
    changes, and a full disk is an error of its own there that is no OSError.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(about.items()))} if about else {}
    # The widest first, so that each begins at a multiple of its size.
    named = sorted(tensors.items(), key=lambda one: (-one[1].element_size(), one[0]))
    end = 0
    for name, tensor in named:
        start, end = end, end + tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in named:
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def zero_starts(module: nn.Module) -> set[str]:
    """State-dict keys of the layers that `zero_` started at zero."""
    return {
        f"{name}.{key}" if name else key
        for name, layer in module.named_modules()
        if getattr(layer, "starts_at_zero", False)
        for key, _ in layer.named_parameters(recurse=False)
    }


def _check_finite_and_filled(tensor: Tensor, key: str, path: Path, must_be_filled: bool) -> None:
    if not tensor.is_floating_point() or not tensor.numel():
        return
    is_small = tensor.numel() <= _SMALL or tensor.numel() == max(tensor.shape)
    blocks = tensor.flatten().split(_BLOCK)
    extremes = [(float(low), float(high)) for low, high in map(torch.aminmax, blocks)]
    # NaN is neither below nor above anything, so that the comparison fails for it too.
    if not all(-torch.inf < low and high < torch.inf for low, high in extremes):
        raise UserError(f"The weights {path} are damaged ({key} has values that are not finite): {_AGAIN}")
    empty = [
        low == high == 0 and len(block) == _BLOCK for (low, high), block in zip(extremes, blocks, strict=True)
    ]
    all_zero = all(low == high == 0 for low, high in extremes)
    if must_be_filled and not is_small and (all_zero or any(empty)):
        what = "nothing but zeros" if all_zero else "long runs of zeros"
        raise UserError(f"The weights {path} are damaged ({key} holds {what}): {_AGAIN}")


_AGAIN = "download them again."


def _check_tail(tensors: dict[str, Tensor], order: Sequence[str], path: Path) -> None:
    """A file cut off within a tensor, behind which all is zero, also what may be."""
    for key in reversed(order):
        flat = tensors[key].flatten()
        if flat.any():
            if len(flat) > _TAIL and not flat[-_TAIL:].any():
                raise UserError(f"The weights {path} are damaged ({key} ends in zeros): {_AGAIN}")
            return
