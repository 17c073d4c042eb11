"""What can go wrong, drawn by seed and number, so that every fault can be met again."""

import random
from dataclasses import dataclass
from pathlib import Path

HARMLESS = ("none", "slow", "twice", "stranger", "hello", "log", "garbage", "other_words")
"""What a backend says besides or late; the job must be finished all the same."""
LIES = ("lie_index", "lie_shape", "lie_type", "lie_nan", "lie_name", "lie_empty")
"""Results that are wrong; the job must fail."""
BROKEN = ("die", "crash", "truncate", "stall", "closed", "noise", "huge", "first_word", "hang", "deaf")
"""A backend that breaks down; the job must end, and the next one must be made."""
ACTIONS = ("nothing",) * 6 + (
    "cancel",
    "new_file",
    "undo",
    "delete",
    "kill",
    "disable",
    "full_disk",
    "reload",
)
ACTIONS_ON_A_REAL_ONE = ("nothing", "kill", *ACTIONS[5:])
CRASH = "blender_dies"  # what the driver does to itself; the queue has to be there afterwards


@dataclass(frozen=True)
class Fault:
    """`kind` happens in the backend at the `at`-th message of the job, `action` in Blender after `ticks`."""

    number: int
    kind: str
    at: int
    action: str
    ticks: int

    @property
    def finished(self) -> bool:
        """Whether its mesh is also closed and gets a texture, on a real backend."""
        return self.number % 3 == 0

    @property
    def picture(self) -> str:
        """The name of the job's picture, by which the backend knows what to do."""
        return f"f{self.number}_{self.kind}-{self.at}.png"


def fault_of(seed: int, number: int, real: bool) -> Fault:
    """The fault of this number."""
    draw = random.Random(f"{seed} {number} {real}")
    kinds = draw.choice((HARMLESS, LIES, BROKEN))
    action = CRASH if draw.random() < 0.02 else draw.choice(ACTIONS_ON_A_REAL_ONE if real else ACTIONS)
    ticks = draw.randrange(1, 400) if real else draw.randrange(1, 30)
    return Fault(number, draw.choice(kinds), draw.randrange(0, 14), action, ticks)


def told_by(name: str) -> tuple[str, int]:
    """Kind and message of a picture's name."""
    kind, _, at = Path(name).stem.partition("_")[2].rpartition("-")
    return (kind, int(at)) if kind else ("none", 0)
