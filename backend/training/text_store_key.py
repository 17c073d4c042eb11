"""What a file of prepared data was made from, in one word: such objects, and a network with such weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import nn

from backend.training.assets import Entry


def store_key(entries: Sequence[Entry], network: nn.Module) -> str:
    """sha256 over the objects' names and the network's weights."""
    digest = hashlib.sha256("\n".join(entry.name for entry in entries).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
