"""Jobs on a cluster: who runs where, and what a worker answers. tests/blender/test_ray.py runs batches."""

import contextlib
import os
import time

import pytest

from backend.errors import MissingModel, UserError
from backend.farm.worker import Answer, Worker
from backend.server.interface import FinishedInfo
from blender_trellis.protocol import Array, Generate


def test_a_worker_takes_a_card_or_all_processors_of_a_machine():
    pytest.importorskip("ray", reason="Ray has no wheel for this machine")
    from backend.farm.ray_engine import devices

    def node(alive=True, **resources):
        return {"Alive": alive, "Resources": resources}

    head = node(CPU=0.0)
    assert devices([head, node(CPU=8.0, GPU=2.0), node(CPU=64.0)]) == 2 * [{"num_gpus": 1, "num_cpus": 1}]
    assert devices([head, node(CPU=8.0), node(CPU=4.0), node(False, CPU=2.0)]) == 2 * [{"num_cpus": 4.0}]
    assert devices([head]) == []


def test_a_worker_refuses_with_the_engine_s_sentence_and_lives_on():
    worker = Worker()
    broken = Array("u1", (4,), b"none")
    for _ in range(2):
        answer = worker.make(Generate("job", pictures=(broken,), picture_names=("broken.png",)))
        assert answer.finished is None and "broken.png" in str(answer.refused)
    missing = worker.make(Generate("job", model="absent", pictures=(broken,), picture_names=("a.png",)))
    assert isinstance(missing.refused, MissingModel) and "absent" in str(missing.refused)


@pytest.fixture(scope="module")
def cluster():
    """One for all tests, for it takes long to start, the longer the busier the machine is."""
    pytest.importorskip("ray", reason="Ray has no wheel for this machine")
    from backend.farm import ray_engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_register_timeout_seconds", "300")  # after which Ray ends this process
        with ray_engine.cluster("local"):
            yield ray_engine


@pytest.fixture
def engine_of(cluster, monkeypatch):
    """Makes an engine whose two workers are of a class."""
    # Workers of the test before may still be there and must not be in the way.
    monkeypatch.setattr(cluster, "devices", lambda nodes: 2 * [{"num_cpus": 0}])
    with contextlib.ExitStack() as ended:
        yield lambda worker: ended.enter_context(contextlib.closing(cluster.RayEngine(worker)))


def test_a_worker_that_met_a_fault_of_its_own_makes_no_more_jobs(engine_of):
    class Fragile(Worker):
        """As a graphics card after an illegal access: every later call of the process fails too."""

        def __init__(self):
            self._engine, self._broken = self, False

        def run(self, request, on_progress, on_result):
            self._broken |= request.prompt == "bad"
            if self._broken:
                raise RuntimeError("illegal access")
            if request.prompt == "large":
                raise MemoryError
            return FinishedInfo(1, "fragile")

    engine = engine_of(Fragile)
    for prompt, error in (("bad", RuntimeError), ("large", MemoryError)):
        with pytest.raises(error):
            run(engine, prompt)
        assert [run(engine, "good").model for _ in range(6)] == 6 * ["fragile"]


def test_workers_that_cannot_start_are_told_of_once(engine_of, monkeypatch):
    class Lame(Worker):
        def __init__(self):
            raise ModuleNotFoundError("No module named 'numpy'")

    engine = engine_of(Lame)
    with pytest.raises(UserError, match=r"No worker .* \(ModuleNotFoundError: No module named 'numpy'\)"):
        run(engine, "a chair")
    used = time.process_time()
    time.sleep(1)
    assert time.process_time() - used < 0.5  # nobody goes on asking for them


def test_workers_that_crash_whenever_they_start_are_given_up(engine_of, monkeypatch, tmp_path):
    monkeypatch.setattr("backend.farm.ray_engine.RESTARTS", 1)

    class Doomed(Worker):
        def __init__(self):
            (tmp_path / str(os.getpid())).touch()
            os._exit(7)

    engine = engine_of(Doomed)
    with pytest.raises(UserError, match=r"No worker .* \(its process ended 2 times while it started\): see"):
        run(engine, "a chair")
    assert 2 <= len(list(tmp_path.iterdir())) <= 2 * 2


def test_a_worker_that_was_ready_starts_again_however_often_it_dies(engine_of, monkeypatch):
    monkeypatch.setattr("backend.farm.ray_engine.RESTARTS", 1)

    class Mortal(Worker):
        def make(self, request):
            if request.prompt == "die":
                os._exit(7)
            return Answer(finished=FinishedInfo(1, "mortal"))

    engine = engine_of(Mortal)
    with pytest.raises(UserError, match="4 workers died"):  # more than Ray alone would start again
        run(engine, "die")
    assert run(engine, "live").model == "mortal"


def run(engine, prompt: str) -> FinishedInfo:
    return engine.run(Generate("job", prompt=prompt), lambda *_: None, lambda *_: None)
