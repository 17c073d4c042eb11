"""`python -m backend ray ADDRESS`: serves as `serve` does, but several jobs at a time, on a Ray cluster."""

import argparse
import contextlib
import importlib.util
import sys

from backend.errors import UserError
from backend.farm.worker import Worker
from backend.serve import Server, open_pipes


def main(argv: list[str], worker: type[Worker] = Worker) -> int:
    """Serve until stdin ends: 0, or 2 where there is no cluster or the stream is no protocol.

    `worker` is what runs on every device.
    """
    wanted = argparse.ArgumentParser(prog="python -m backend ray", description=__doc__)
    wanted.add_argument("address", help="local, auto, or the host:port of the cluster's head")
    options = wanted.parse_args(argv)
    if importlib.util.find_spec("ray") is None:
        sys.stderr.write("Ray is not installed: pip install -r backend/requirements/ray.txt.\n")
        return 2
    from backend.farm.ray_engine import RayEngine, cluster

    requests, channel = open_pipes()
    try:
        with cluster(options.address), contextlib.closing(RayEngine(worker)) as engine:
            return Server(engine, requests, channel).run(engine.lanes)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
