"""The crew that hands a batch's jobs to one backend, several at a time."""

import sys

import pytest

from blender_trellis.batch import at_once
from blender_trellis.batch.at_once import Crew
from blender_trellis.faults import Fault
from blender_trellis.process import backend_process
from blender_trellis.process.backend_process import BackendProcess
from blender_trellis.protocol import Array, Finished, Generate, Progress

REQUEST = Generate("", pictures=(Array("u1", (1 << 20,), bytes(1 << 20)),))


@pytest.fixture
def crew(tmp_path):
    """A crew with a backend that reads nothing."""

    class Launch:
        def start(self) -> BackendProcess:
            command = [sys.executable, "-c", "import time; time.sleep(1000)"]
            process = BackendProcess(command, tmp_path, tmp_path / "log", start_seconds=2.0)
            process.start()
            return process

    crew = Crew(Launch())
    yield crew
    crew._process.kill()
    crew.close()


def test_no_more_is_handed_over_than_the_backend_lets_wait(crew, monkeypatch):
    monkeypatch.setattr(at_once, "MOST_BYTES", 2 << 20)
    crew.submit(REQUEST)
    assert crew.has_room
    crew.submit(REQUEST)
    assert not crew.has_room


def test_a_job_that_was_not_taken_is_not_waited_for(crew, monkeypatch):
    monkeypatch.setattr(backend_process, "UNSENT_BYTES", 1 << 20)
    first = crew.submit(REQUEST)
    with pytest.raises(Fault, match="does not take"):
        crew.submit(REQUEST)
    crew._process.kill()
    crew._was_there = True
    ended = []
    while not ended:
        ended = crew.tick()
    assert [job.id for job in ended] == [first]
    crew.submit(REQUEST)  # with another backend


class Lost:
    """A backend that has ended after what it said of its jobs: that the first is done, the second begun."""

    hello = object()
    alive = False

    def __init__(self, speaks: bool):
        self.sent: list = []
        self._speaks = speaks

    def send(self, message) -> None:
        self.sent.append(message)

    def poll(self) -> list:
        first, second = (message.job for message in self.sent[:2])
        said = [Finished(first, 1.0, 1, "starter"), Progress(second, "load", 0, 1, 0.0)]
        return said if self._speaks else []

    def exit_reason(self) -> str:
        return "The backend stopped."

    def stop(self, grace: float = 0.0) -> None:
        pass


def test_what_a_lost_backend_has_not_begun_goes_to_another_one_once():
    class Launch:
        def __init__(self) -> None:
            self.started: list[Lost] = []

        def start(self) -> Lost:
            self.started.append(Lost(speaks=not self.started))
            return self.started[-1]

    launch = Launch()
    crew = Crew(launch)
    request = Generate("", formats=())
    done, begun, waiting = (crew.submit(request) for _ in range(3))
    assert {job.id: job.state for job in crew.tick()} == {done: "finished", begun: "failed"}
    launch.started[1].sent *= 2
    assert [message.job for message in launch.started[1].sent] == [waiting] * 2
    assert {job.id: job.state for job in crew.tick()} == {waiting: "failed"}
    assert len(launch.started) == 2
