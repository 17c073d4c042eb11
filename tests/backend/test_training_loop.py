"""The loop in several processes and pieces, and what hands it batches."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_process import STEPS, config, layer_part

from backend.errors import UserError
from backend.training.data.feeding import Workers, feed
from backend.training.log import TrainingLog
from backend.training.loop import Trainer
from backend.training.schedule import AdaptiveClip
from backend.training.state import read_counters, read_state

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_learn_what_one_does_from_both_their_batches(tmp_path):
    port = str(_free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("training_process.py")), str(tmp_path / "two")],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=1800) for process in processes] == [0, 0]
    alone = Trainer(layer_part(), config(accumulate=2), tmp_path / "one")
    alone.run()
    two, one = read_state(tmp_path / "two" / "layer.safetensors"), read_state(alone.path)
    assert two.counters["step"] == one.counters["step"] == STEPS
    for key in one.model:
        torch.testing.assert_close(two.model[key], one.model[key])
        torch.testing.assert_close(two.ema[key], one.ema[key])
    lines = (tmp_path / "two" / "layer.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "other",
    [(layer_part(64), config(muon=True)), (layer_part(48), config(muon=False))],
    ids=["Muon", "sizes"],
)
def test_a_state_of_another_optimiser_or_network_is_refused_and_kept(tmp_path, other):
    begun = Trainer(layer_part(64), config(muon=False), tmp_path)
    begun.run()
    before = begun.path.read_bytes()
    with pytest.raises(UserError, match="another network or optimiser; remove it to begin again"):
        Trainer(*other, tmp_path)
    assert begun.path.read_bytes() == before


@pytest.mark.parametrize("muon", [False, True])
def test_a_run_in_pieces_ends_like_one_without(tmp_path, muon):
    whole = Trainer(layer_part(64), config(muon=muon), tmp_path / "whole")
    assert len(whole.optimizers) == 1 + muon
    whole.run()
    Trainer(layer_part(64), config(muon=muon), tmp_path / "pieces").run(until=0.0)
    trainer = Trainer(layer_part(64), config(muon=muon), tmp_path / "pieces")
    assert trainer.step == 1 and not trainer.finished
    trainer.run()
    assert trainer.finished
    left, right = read_state(whole.path), read_state(trainer.path)
    assert all(torch.equal(left.model[key], right.model[key]) for key in left.model)
    assert all(torch.equal(left.ema[key], right.ema[key]) for key in left.ema)


@pytest.mark.parametrize("workers", [Workers(), Workers(ahead=5), Workers(processes=2)])
def test_batches_come_in_order_whoever_makes_them(workers):
    part = layer_part()
    made = list(feed(part.batch, iter(range(3, 10)), workers))
    assert len(made) == 7
    for number, batch in enumerate(made, start=3):
        assert torch.equal(batch.x, part.batch(number).x)


@pytest.mark.parametrize("workers", [Workers(), Workers(processes=2)])
def test_an_error_in_a_worker_reaches_the_loop(workers):
    def broken(number: int):
        raise UserError("This mesh is broken.")

    with pytest.raises(UserError, match="broken"):
        next(feed(broken, iter(range(5)), workers))


def test_gradients_that_are_not_finite_are_left_out():
    clip = AdaptiveClip(1.0, window=4)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, float("nan")])
    clip([parameter])
    assert parameter.grad.tolist() == [0.0, 0.0]
    assert clip.norms == [1.0] and clip.skipped == 1
    parameter.grad = torch.ones(2)
    clip([parameter])
    assert clip.skipped == 0


@pytest.mark.parametrize("steps", [3, 500])
def test_a_training_that_changes_nothing_ends_as_a_fault(tmp_path, steps):
    part = layer_part()
    broken = replace(part, loss=lambda *given: (part.loss(*given)[0] * float("nan"), {}))
    trainer = Trainer(broken, replace(config(), steps=steps), tmp_path)
    with pytest.raises(UserError, match="layer learns nothing: .* not finite"):
        trainer.run()
    assert trainer.step == min(steps, 48)


def test_the_norms_are_kept_oldest_first():
    clip, again = AdaptiveClip(100.0, window=4), AdaptiveClip(100.0, window=4)
    parameter = torch.nn.Parameter(torch.zeros(1))
    for norm in range(1, 7):
        parameter.grad = torch.tensor([float(norm)])
        clip([parameter])
    assert clip.norms == [3.0, 4.0, 5.0, 6.0]
    again.load(clip.norms)
    assert again.norms == clip.norms and again.threshold() == clip.threshold()


def test_the_log_forgets_what_was_not_saved(tmp_path):
    log = TrainingLog(tmp_path, "part")
    for step in (1, 2, 3):
        log.write(step, 0.5, {"loss": 1.0 / step})
    with log.path.open("a") as file:
        file.write("4,0.")  # cut off by a kill
    log.drop_after(2)
    assert [line.split(",")[0] for line in log.path.read_text().splitlines()] == ["step", "1", "2"]


@pytest.mark.parametrize("begun", ["", "st", "step,seconds,lo"])
def test_a_log_that_was_only_begun_is_begun_again(tmp_path, begun):
    log = TrainingLog(tmp_path, "part")
    log.path.write_text(begun)
    log.drop_after(2)
    log.write(3, 0.5, {"loss": 1.0})
    assert log.path.read_text() == "step,seconds,loss\n3,0.5,1.0\n"


@pytest.mark.parametrize("read", [read_state, read_counters])
def test_a_damaged_state_is_one_sentence(tmp_path, read):
    path = tmp_path / "part.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} is damaged .*remove it to begin again"):
        read(path)
