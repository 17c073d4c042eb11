"""Networks whose weights come from a file, built as shapes alone on the meta device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _NoNormals(TorchFunctionMode):
    """Leaves out random start values, of which there are none to see: on the meta device normal_ imports
    torch._dynamo, which takes a second."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in (nn.init.normal_, Tensor.normal_):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


@contextmanager
def without_weights() -> Iterator[None]:
    """What is built within has shapes and no numbers."""
    with torch.device("meta"), _NoNormals():
        yield
