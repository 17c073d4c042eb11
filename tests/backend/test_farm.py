"""Jobs on a cluster: who runs where, and what a worker answers. tests/blender/test_ray.py has a real one."""

import pytest

from backend.errors import MissingModel
from backend.farm.worker import Worker
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
