"""The training loop of every part: batches by number, moving average, a state that resumes exactly.

Batches and noise depend on the seed and the batch's number alone, so a run that was killed and resumed equals
one that was not, and several processes equal one that takes as many batches a step.
"""

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from backend.errors import UserError
from backend.machine.device import mixed_precision
from backend.training.data.feeding import Workers, feed, moved
from backend.training.distributed import ALONE, World
from backend.training.log import TrainingLog, draw_curves
from backend.training.optimizers import load_state, optimizers_of, state_of
from backend.training.schedule import AdaptiveClip, MovingAverage, learning_rate_factor
from backend.training.state import State, read_state, write_state

log = logging.getLogger(__name__)
CPU = torch.device("cpu")
_PATIENCE = 48  # steps in a row without a gradient that can be used
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast one part is trained; `minutes` of 0 leaves the length to `steps`.

    `bfloat16` counts where the device computes in it. `accumulate` batches make a step. Batches are made by
    `workers`. The optimiser is AdamW or, for the weights of layers, Muon.
    """

    steps: int = 10_000
    minutes: float = 0.0
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    muon: bool = False
    warm_up: int = 100
    clip: float = 1.0
    ema: float = 0.99
    seed: int = 0
    save_seconds: float = 60.0
    log_every: int = 20
    bfloat16: bool = True
    accumulate: int = 1
    workers: Workers = Workers()

    def progress(self, step: int, seconds: float) -> float:
        """Share of the training that is done after so much, in [0, 1]."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_time, step / self.steps))

    def is_over(self, step: int, seconds: float) -> bool:
        """Whether a training is at its end after so much; it has at least one step."""
        return step > 0 and self.progress(step, seconds) >= 1.0


@dataclass(frozen=True)
class Part(Generic[Batch]):
    """What the loop needs to know: the trained module, batches by number, and a loss.

    Batches are tensors, or frozen dataclasses and tuples of them, on the processor; the loop moves them to
    the module's device. `loss` takes a batch and the batch's noise generator, which is the processor's, and
    returns the loss and numbers to log, which may stay tensors.
    """

    name: str
    module: nn.Module
    batch: Callable[[int], Batch]
    loss: Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, Any]]]


class Trainer:
    """One part in training; its state lives in `<folder>/<part>.safetensors`.

    The module is moved to the device; what else the part's loss uses must be there already.
    """

    def __init__(
        self, part: Part, config: LoopConfig, folder: Path, device: torch.device = CPU, world: World = ALONE
    ):
        self.part = part
        self.config = config
        self.folder = folder
        self.device = device
        self.world = world
        part.module.to(device)
        world.share((*part.module.parameters(), *part.module.buffers()))
        self.parameters = [p for p in part.module.parameters() if p.requires_grad]
        self.optimizers = optimizers_of(
            self.parameters, config.learning_rate, config.weight_decay, config.muon
        )
        self.average = MovingAverage(part.module, config.ema)
        self.clip = AdaptiveClip(config.clip)
        self.step = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            self._load()

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.folder / f"{self.part.name}.safetensors"

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return self.config.progress(self.step, self.seconds)

    @property
    def finished(self) -> bool:
        """Whether the training is at its end."""
        return self.config.is_over(self.step, self.seconds)

    def run(self, until: float = math.inf) -> nn.Module:
        """Trains to the end, or until time.monotonic() says `until`; goes on from the saved state.

        Returns the module: with averaged weights if the training is `finished`, else as it stands.
        """
        log.info("%s: from step %d, %.0f s done", self.part.name, self.step, self.seconds)
        with fast_arithmetic(self.device), self._training_log() as written:
            with contextlib.closing(self._batches()) as batches:
                self._train(batches, written, until)
        if self.finished:
            self._require_gradients(min(_PATIENCE, self.step))
        self.save()
        if self.finished:
            self.average.copy_to(self.part.module)
        return self.part.module

    def _train(self, batches: Iterator[Any], written: TrainingLog | None, until: float) -> None:
        saved = started = time.monotonic()
        before = self.seconds
        while True:
            now = time.monotonic()
            # Saving is agreed on too, or one process would wait for the others while these go on.
            self.seconds, late, due = self.world.agree(
                before + now - started, float(now > until), float(now - saved > self.config.save_seconds)
            )
            if self.finished or (late and self.step > 0):
                return
            if due and self.step > 0:
                self.save()
                if self.world.leads:
                    draw_curves(self.folder)
                saved = time.monotonic()
            numbers = self.train_step(*itertools.islice(batches, self.config.accumulate))
            if self.step % self.config.log_every == 0:
                self._require_gradients(_PATIENCE)
            if written is not None and (self.step == 1 or self.step % self.config.log_every == 0):
                written.write(self.step, self.seconds, {k: float(v) for k, v in numbers.items()})

    def _require_gradients(self, patience: int) -> None:
        """UserError where so many steps in a row have changed nothing."""
        if self.clip.skipped >= patience:
            raise UserError(
                f"{self.part.name} learns nothing: the last {int(self.clip.skipped)} steps had gradients that"
                " are not finite. Begin with a smaller learning rate, or without objects that are broken."
            )

    def train_step(self, *batches: Any) -> dict[str, Any]:
        """One optimiser step on one batch or, accumulating, several; returns the numbers to log."""
        factor = learning_rate_factor(self.step, self.config.warm_up, self.progress)
        for group in (group for one in self.optimizers for group in one.param_groups):
            group["lr"] = self.config.learning_rate * factor
        self.part.module.zero_grad()
        total = torch.zeros((), device=self.device)
        numbers: dict[str, Any] = {}
        for number, batch in zip(self._numbers(self.step), batches, strict=False):
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
            with mixed_precision(self.device, self.config.bfloat16):
                loss, numbers = self.part.loss(moved(batch, self.device), generator)
            (loss / len(batches)).backward()
            total += loss.detach() / len(batches)
        self.world.average_gradients(self.parameters)
        norm = self.clip(self.parameters)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.average.update(self.part.module, self.step)
        return {"loss": total, "norm": norm, "lr": self.config.learning_rate * factor, **numbers}

    def save(self) -> None:
        """Writes weights, averages, optimiser and counters in one atomic file."""
        if self.world.leads:
            counters = {"step": self.step, "seconds": self.seconds, "norms": self.clip.norms}
            remembered = state_of(self.optimizers)
            state = State(self.part.module.state_dict(), self.average.shadow, remembered, counters)
            write_state(self.path, state)
        self.world.wait()

    def _load(self) -> None:
        state = read_state(self.path)
        try:
            self.part.module.load_state_dict(state.model, strict=False)
            load_state(self.optimizers, state.optimizer)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"The training state {self.path} is that of another network or optimiser; remove it to begin"
                " again."
            ) from error
        self.average.load(state.ema)
        self.step, self.seconds = state.counters["step"], state.counters["seconds"]
        self.clip.load(state.counters["norms"])

    def _numbers(self, step: int) -> range:
        """The numbers of this process's batches of a step."""
        each = self.config.accumulate
        first = (step * self.world.size + self.world.rank) * each
        return range(first, first + each)

    def _batches(self) -> Generator[Any, None, None]:
        if self.config.workers.processes:
            self.part.batch(self._numbers(self.step)[0])  # what this compiles the workers inherit
        numbers = itertools.chain.from_iterable(map(self._numbers, itertools.count(self.step)))
        return feed(self.part.batch, numbers, self.config.workers)

    @contextlib.contextmanager
    def _training_log(self) -> Iterator[TrainingLog | None]:
        """The leading process's log, without what a killed run wrote after its last saved step."""
        if not self.world.leads:
            yield None
            return
        written = TrainingLog(self.folder, self.part.name)
        written.drop_after(self.step)
        try:
            yield written
        finally:
            written.close()


@contextlib.contextmanager
def fast_arithmetic(device: torch.device) -> Iterator[None]:
    """On a GPU, while the block runs: convolutions tuned to their sizes, TF32 where bf16 is not used."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.set_float32_matmul_precision(before[1])
