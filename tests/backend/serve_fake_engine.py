"""The real server of jobs with an engine that needs no models, run as a program by test_serve.py.

    python serve_fake_engine.py [JOBS AT A TIME [SECONDS AFTER WHICH A JOB IS STUCK]]

The prompt of a request says what the engine does with it.
"""

import ctypes
import errno
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

import backend.server.request_queue
from backend.errors import MissingModel, UserError
from backend.serve import Server, open_pipes
from backend.server.interface import FinishedInfo, LoadedInfo
from backend.server.interruption import Interruption
from backend.server.request_queue import RequestQueue
from blender_trellis.protocol import PROTOCOL_VERSION, Hello

ARRAYS = {"coords": np.array([[1, 2, 3], [4, 5, 6]], np.int32), "occupied": np.zeros(64, np.uint8)}


class FakeEngine:
    """Counts to ten for every job, and does what the prompt says on the way.

    "slow" is in its first step until it is given up, "steady" tells of its first step again and again.
    "held" is within one call until another job waits, "stuck" for ever.
    "deep" and "swallowing" finish a mesh for ever and report nothing; the latter catches errors too.
    """

    def __init__(self, requests: RequestQueue):
        self._requests = requests
        self._both = threading.Barrier(2)

    def hello(self) -> Hello:
        return Hello(PROTOCOL_VERSION, "0.1.0", "3.11", "none")

    def load(self, model, device, precision, engine):
        if model == "absent":
            raise MissingModel("There is no model called absent; download it in the preferences.")
        return LoadedInfo(model, "cpu", "float32", "hash")

    def run(self, request, on_progress, on_result):
        for step in range(10):
            on_progress("sparse_structure", step + 1, 10)
            if request.prompt == "slow":
                self._requests._pending[request.job].cancelled.wait()
            while request.prompt == "steady":
                on_progress("sparse_structure", 1, 10)
                time.sleep(0.01)
        if request.prompt in ("deep", "swallowing"):
            on_progress("finish_mesh", 0, 1)
            endless(swallows=request.prompt == "swallowing")
        getattr(self, request.prompt or "nothing", self.nothing)()
        on_result("voxels", {"resolution": 64, "structure_resolution": 8}, ARRAYS)
        return FinishedInfo(request.seed, request.model)

    def nothing(self):
        pass

    def meeting(self):
        """Ends only once another job is here too."""
        self._both.wait(60)

    def user_error(self):
        raise UserError("The picture is empty; choose another one.")

    def bug(self):
        raise ValueError("something that nobody thought of")

    def memory(self):
        raise MemoryError

    def full_disk(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_temporary_folder(self):
        with mock.patch("tempfile._candidate_tempdir_list", lambda: [__file__]):
            tempfile.tempdir = None
            tempfile.gettempdir()

    def allocator(self):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    def noise(self):
        print("a stray print")  # noqa: T201
        os.write(1, b"a stray write to descriptor 1\n")
        ctypes.CDLL(None).puts(b"a stray line of a C library")
        ctypes.CDLL(None).fflush(None)

    def held(self):
        while not any(not one.running for one in list(self._requests._pending.values())):
            time.sleep(0.01)

    def stuck(self):
        time.sleep(1000)

    def long_sentence(self):
        raise UserError("x" * (2 << 20))


def endless(swallows: bool) -> None:
    """Library code as far as the server can tell."""
    caught = False
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            if caught or not swallows:
                raise
            caught = True


if __name__ == "__main__":
    backend.server.request_queue.WAITING_BYTES = 1 << 20
    interruption = Interruption()
    interruption.install()
    requests, channel = open_pipes(interruption.ask)
    server = Server(FakeEngine(requests), requests, channel, interruption)
    if len(sys.argv) > 2:
        backend.server.request_queue.STUCK_SECONDS = float(sys.argv[2])
    sys.exit(server.run(*map(int, sys.argv[1:2])))
