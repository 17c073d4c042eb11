"""Injects faults into Blender with a fake and a real backend, and says whether all was well.

    python soak.py [--seed 1] [--faults 960] [--real 40] [--first 0]

Every fault is drawn of the seed and its number: `--seed S --first N --faults 1` meets fault N again.
What is not well is told at once, and how far it is after every 50 faults.
"""

import argparse
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

DRIVER = Path(__file__).with_name("driver.py")
SILENT_SECONDS = {"fake": 120.0, "real": 1500.0}  # without a line, after which Blender itself hangs
TOLD_EVERY = 50  # faults


@dataclass
class Outcome:
    """How many of each, and what was not well."""

    well: int = 0
    hangs: int = 0
    crashes: int = 0
    wrong: int = 0
    lines: list[str] = field(default_factory=list)
    tell: Callable[[str], None] = lambda line: None  # takes what a person who waits wants to read

    def add(self, line: str = "") -> None:
        """One more fault, counted already; `line`: what was not well."""
        if line:
            self.lines.append(line)
            self.tell(line)
        if (met := self.well + len(self.lines)) % TOLD_EVERY == 0:
            self.tell(f"{met} faults: {self.counts}")

    @property
    def counts(self) -> str:
        """In words."""
        return f"{self.well} well, {self.hangs} hangs, {self.crashes} crashes, {self.wrong} wrong"


def soak(
    seed: int,
    first: int,
    faults: int,
    which: str,
    home: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """The faults first to first + faults - 1."""
    outcome, number, recover = Outcome(tell=tell), first, False
    while number < first + faults:
        arguments = [str(seed), str(number), str(first + faults), str(home), which]
        command = [sys.executable, str(DRIVER), *arguments, *(["recover"] if recover else [])]
        with open(home / "driver.log", "ab") as log:
            blender = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        number, recover = _watch(blender, number, outcome, SILENT_SECONDS[which])
    return outcome


def _watch(blender: subprocess.Popen, number: int, outcome: Outcome, patience: float) -> tuple[int, bool]:
    """Follows one Blender to its end; the number of the next fault, and whether to recover from its death."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert blender.stdout
        for line in blender.stdout:
            if line.startswith("soak: "):
                lines.put(line[6:].strip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            blender.send_signal(signal.SIGUSR1)  # its stacks go into the log
            time.sleep(1)
            blender.kill()
            outcome.hangs += 1
            outcome.add(f"hang in fault {number}")
            return number + 1, False
        if line is None:
            break
        if line.startswith("dies"):
            blender.wait()
            return number, True
        number += 1
        if line.startswith("well"):
            outcome.well += 1
            outcome.add()
        else:
            outcome.wrong += 1
            outcome.add(line)
    code = blender.wait()
    if code != 0:
        outcome.crashes += 1
        outcome.add(f"Blender ended with {code} in fault {number}")
        return number + 1, False
    return number, False


def _write(*lines: str) -> None:
    """At once, also into a file."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """0 where all was well."""
    wanted = argparse.ArgumentParser(prog="soak.py")
    wanted.add_argument("--seed", type=int, default=1)
    wanted.add_argument("--faults", type=int, default=960)
    wanted.add_argument("--real", type=int, default=40, help="faults with the real backend, after the others")
    wanted.add_argument("--first", type=int, default=0)
    options = wanted.parse_args(arguments)
    bad = 0
    for which, faults in (("fake", options.faults), ("real", options.real)):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="soak") as folder:
            found = soak(options.seed, options.first, faults, which, Path(folder), _write)
            log = (Path(folder) / "driver.log").read_text(errors="replace") if faults else ""
        seconds = time.monotonic() - began
        _write(
            f"seed {options.seed}, {which} backend: {faults} faults in {seconds:.0f} s: {found.counts}",
            *(f"  {line}" for line in found.lines),
        )
        if found.lines:
            _write(log[-8000:])
        bad += found.hangs + found.crashes + found.wrong
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
