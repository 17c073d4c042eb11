"""`python -m backend ray ADDRESS` with the fake backend's ball on every worker, run by test_ray.py.

A worker dies of b"die" each time.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from backend.errors import UserError
from backend.farm.command import main
from backend.farm.worker import Worker
from backend.server.interface import FinishedInfo


class FakeEngine:
    """What the fake backend sends, as an engine hands it on."""

    def run(self, request, on_progress, on_result):
        import numpy as np
        from fake_backend import FakeBackend

        from blender_trellis import protocol as p

        class Kept(FakeBackend):
            def send(self, message):
                sent.append(message)

        sent = []
        Kept().generate(request)
        for message in sent:
            if isinstance(message, p.Failed):
                raise UserError(message.message)
            if isinstance(message, p.Result):
                arrays = {
                    name: np.frombuffer(one.data, f"<{one.dtype}").reshape(one.shape)
                    for name, one in message.arrays.items()
                }
                on_result(message.kind, message.info, arrays)
        done = sent[-1]
        return FinishedInfo(done.seed, done.model, done.model_hash, done.picture_hash)


class FakeWorker(Worker):
    def __init__(self):
        self._engine = FakeEngine()


if __name__ == "__main__":
    from ray_backend import FakeWorker as Importable  # by name, as workers find it

    sys.exit(main(sys.argv[-1:], Importable))
