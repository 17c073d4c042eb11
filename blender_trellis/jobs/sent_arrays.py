"""numpy arrays as messages carry them. No bpy here."""

from collections.abc import Iterable, Mapping

import numpy as np

from ..protocol import ITEM_BYTES, Array


def sent(arrays: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """The arrays by name, in C order and little-endian; their kinds are those of a message already."""
    return {name: _sent(values) for name, values in arrays.items()}


def sent_pictures(files: Iterable[bytes]) -> dict[str, Array]:
    """Picture files as requests that start from an asset hold them."""
    return {f"picture_{number}": Array("u1", (len(data),), data) for number, data in enumerate(files)}


def _sent(values: np.ndarray) -> Array:
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    assert kind in ITEM_BYTES, f"messages hold no {kind}"
    return Array(kind, values.shape, np.ascontiguousarray(values, f"<{kind}").tobytes())
