"""A graphics card that is none: tensors on the device "meta:0" whose values lie in the machine's memory.

As on a card, tensors of two devices do not mix, numpy cannot read them, matrix products of integers are not
there (CUDA), nor is double precision (MPS).
"""

from typing import Any

import torch
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("meta:0")  # "meta" without a number is that of tensors without values, as everywhere
HOST = torch.device("cpu")
_PRODUCTS = {"matmul", "mm", "mv", "bmm", "dot", "addmm", "addmv", "baddbmm"}
_MOVES = {"to", "_to_copy"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}  # a card takes the machine's indices too


class OnCard(torch.Tensor):
    """A tensor of the card; `held` is the one in the machine's memory."""

    held: torch.Tensor
    is_meta = property(lambda self: False)  # type: ignore[assignment]  # it does hold values

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCard":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CARD,
        )

    def __init__(self, held: torch.Tensor):
        if held.dtype == torch.float64:
            raise TypeError("The card has no double precision.")
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCard({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __getitem__(self, key):
        return super().__getitem__(_without_lists(key))

    def __setitem__(self, key, value):
        return super().__setitem__(_without_lists(key), value)

    def tolist(self):
        return self.held.tolist()


class Card(TorchDispatchMode):
    """While it is entered, what is put on the device `CARD` is on it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __enter__(self):
        _device_constructors()  # which remembers at its first call what `with torch.device(…)` concerns
        # These make their tensor on its device at once, unseen by a mode.
        self._kept = torch.tensor, torch.Tensor.new_tensor
        tensor = torch.tensor

        def made(data: Any, dtype: Any = None, device: Any = None, **others: Any) -> torch.Tensor:
            if device is None:  # then it is that of the context
                return tensor(data, dtype=dtype, **others)
            return tensor(data, dtype=dtype, device=HOST, **others).to(device)

        def made_like(self: torch.Tensor, data: Any, dtype: Any = None, device: Any = None) -> torch.Tensor:
            return tensor(data, dtype=dtype or self.dtype, device=HOST).to(device or self.device)

        torch.tensor, torch.Tensor.new_tensor = made, made_like  # type: ignore[assignment]
        return super().__enter__()

    def __exit__(self, *raised):
        torch.tensor, torch.Tensor.new_tensor = self._kept  # type: ignore[method-assign]
        return super().__exit__(*raised)


def _without_lists(key: Any) -> Any:
    """An index with tensors for its sequences: torch would make those on the card, unseen."""
    parts = key if isinstance(key, tuple) else (key,)
    made = tuple(torch.tensor(one) if isinstance(one, list | tuple) else one for one in parts)
    return made if isinstance(key, tuple) else made[0]


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the values; its results are on the card where its tensors or its device are."""
    name, leaves = func.overloadpacket.__name__, tree_leaves((args, kwargs))
    given = [one for one in leaves if isinstance(one, torch.Tensor)]
    ours = [one for one in given if isinstance(one, OnCard)]
    if name == "_has_compatible_shallow_copy_type":
        return False
    devices = [one for one in leaves if isinstance(one, torch.device)]
    if name in _MOVES and len(given) > 1:
        devices = [given[1].device]
    if name not in _MOVES | _INDEXED | {"copy_"}:
        mixed = ours and any(one.dim() for one in given if not isinstance(one, OnCard))
        assert not mixed, f"{func} of tensors on two devices"
    if name in _PRODUCTS and ours:
        assert all(one.is_floating_point() for one in ours), f"{func} of {ours[0].dtype} is not there"
    made = func(*tree_map(_value, args), **tree_map(_value, kwargs))
    if name == "copy_":
        return given[0]
    if not (devices[0] == CARD if devices else ours):
        return made
    same = {id(one.held): one for one in ours}
    return tree_map(lambda one: _put(one, same), made)


def _value(one: Any) -> Any:
    if isinstance(one, torch.device) and one == CARD:
        return HOST
    return one.held if isinstance(one, OnCard) else one


def _put(one: Any, same: dict[int, OnCard]) -> Any:
    """A result on the card; what was changed in place is the tensor that was there."""
    if not isinstance(one, torch.Tensor):
        return one
    return same[id(one)] if id(one) in same else OnCard(one)
