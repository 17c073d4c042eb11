"""What a file of prepared data holds and was made from, in one word: such tensors of such objects, and a
network with such weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import nn

from backend.geometry.mesh_files import Entry


def store_key(tensors: Sequence[str], entries: Sequence[Entry], network: nn.Module) -> str:
    """sha256 over the tensors' names, the objects' names and the network's weights."""
    names = [*tensors, "", *(entry.name for entry in entries)]
    digest = hashlib.sha256("\n".join(names).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
