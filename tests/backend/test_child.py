"""A function in a process of its own: its answer, its faults, and its end in mid-call."""

import os
import sys
import time

import numpy as np
import pytest

from backend.finishing.arrays import ArrayMesh
from backend.finishing.budget import reduce_faces
from backend.machine.child import in_child
from backend.texturing import unwrap as unwrapping
from tests.waiting import PATIENCE

HERE = "tests.backend.child_functions:"


class Enough(Exception):
    """Whoever waited has had enough."""


def patient():
    pass


def test_arrays_and_numbers_go_there_and_back():
    a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3), np.float32)
    both, column = in_child(HERE + "sums", (a, b), {"times": 3}, patient)
    assert both.tolist() == [[3, 6, 9], [12, 15, 18]] and column.tolist() == [3, 5, 7]


def test_arrays_that_take_longer_to_send_than_a_wait_arrive_whole():
    """24 MB: far more than a pipe holds while the child still starts."""
    numbers = np.random.default_rng(0).random(3_000_000)
    began = time.monotonic()

    def not_for_ever():
        assert time.monotonic() - began < PATIENCE

    (answer,) = in_child("numpy:sort", (numbers,), {}, not_for_ever)
    assert np.array_equal(answer, np.sort(numbers))


def test_its_faults_are_told():
    with pytest.raises(RuntimeError, match="nobody thought of that"):
        in_child(HERE + "fail", (np.zeros(1),), {}, patient)
    with pytest.raises(MemoryError):
        in_child(HERE + "too_large", (np.zeros(1),), {}, patient)


@pytest.mark.skipif(sys.platform == "win32", reason="ends by a signal")
@pytest.mark.parametrize(("code", "error"), [(9, MemoryError), (11, RuntimeError)])
def test_a_child_that_is_killed_or_crashes_is_told_of(code, error):
    with pytest.raises(error):
        in_child(HERE + "leave", (np.zeros(1),), {"code": code}, patient)


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a process by signal 0")
def test_whoever_waits_can_end_it_in_the_middle_of_its_call(tmp_path):
    began = time.monotonic()

    def until_it_works():
        assert time.monotonic() - began < PATIENCE
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise Enough

    with pytest.raises(Enough):
        in_child(HERE + "for_ever", (np.zeros(1),), {"folder": str(tmp_path)}, until_it_works)
    with pytest.raises(ProcessLookupError):  # it is gone and buried
        os.kill(int((tmp_path / "pid").read_text()), 0)


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A wavy sheet of 2 · side² faces."""
    x, y = np.meshgrid(np.linspace(0, 1, side + 1), np.linspace(0, 1, side + 1), indexing="ij")
    points = np.stack([x, y, 0.1 * np.sin(9 * x) * np.cos(7 * y)], axis=-1).reshape(-1, 3)
    row, column = (part.ravel() for part in np.mgrid[:side, :side])
    a = row * (side + 1) + column
    b, c, d = a + 1, a + side + 1, a + side + 2
    return points, np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int64)


def test_charts_made_by_a_child_are_those_made_here(monkeypatch):
    vertices, faces = grid(20)
    here = unwrapping.unwrap(vertices, faces, 256, 2)
    monkeypatch.setattr(unwrapping, "_MANY_FACES", len(faces))
    waited = []
    there = unwrapping.unwrap(vertices, faces, 256, 2, lambda: waited.append(1))
    for name in ("origin", "faces", "uv"):
        assert np.array_equal(getattr(here, name), getattr(there, name)), name
    assert waited, "nobody could have stopped it"


@pytest.mark.parametrize("colored", [False, True])
def test_faces_reduced_by_a_child_are_those_reduced_here(monkeypatch, colored):
    vertices, faces = grid(20)
    colors = (vertices[:, [0, 1, 0]]).astype(np.float32) if colored else None
    mesh = ArrayMesh(vertices, faces.astype(np.int32), colors)
    here = reduce_faces(mesh, 200)
    monkeypatch.setattr("backend.finishing.budget._MANY_FACES", len(faces))
    there = reduce_faces(mesh, 200)
    assert 0 < len(here.faces) <= 200
    assert np.array_equal(here.faces, there.faces) and np.array_equal(here.vertices, there.vertices)
