"""What became of a batch: the loop over its objects, the report, the table and the exit code."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any, TextIO, TypeVar

from .plan import Item, Skipped, name_for
from .progress_bar import ProgressBar

INTERRUPTED = "Interrupted."
NOT_BEGUN = "Not begun: the batch was interrupted before."
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}


@dataclass
class Outcome:
    """What became of one object; `fault` is empty when all went well."""

    name: str
    picture: str = ""  # the first of several views, "" of a sentence
    seconds: float = 0.0
    seed: int = 0
    files: list[str] = field(default_factory=list)
    asset: str = ""  # its file in the asset library
    error: str = ""  # one sentence
    library_error: str = ""  # the same, where it was made but the asset library did not take it
    log: str = ""  # of the backend, where it died
    model_hash: str = ""
    picture_hash: str = ""
    request_hash: str = ""  # equal for what is asked for in the same way

    @property
    def fault(self) -> str:
        """What went wrong, in one sentence."""
        return self.error or self.library_error

    @property
    def file_names(self) -> list[str]:
        """Of its files without their folder, which may be that of another machine, with Windows too."""
        paths = ((PureWindowsPath(file), Path(file)) for file in self.files)
        return [windows.name if windows.drive else own.name for windows, own in paths]


ItemT = TypeVar("ItemT", bound=Item)
Make = Callable[[ItemT, Outcome, ProgressBar], None]
"""Makes one object and notes its files; whatever it raises is the reason why the object was not made."""


def make_all(
    items: Sequence[ItemT],
    output: Path,
    seed: int,
    make: Make[ItemT],
    explain: Callable[[Exception], str],
    stream: TextIO,
    *,
    made: Callable[[ItemT], Outcome | None] = lambda item: None,
    note: Callable[[Outcome], None] = lambda outcome: None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Makes every item; a failure is noted as `explain` puts it, and the next one follows.

    `explain` gives one sentence, and where there is a log, that on further lines. Progress goes to `stream`.
    `made`: what an earlier run has made of an item, which is left as it is. `note` is told of each outcome as
    soon as there is one. Once `is_stopping`, no further item is begun.
    """
    outcomes: list[Outcome] = []
    for number, item in enumerate(items, start=1):
        item = replace(item, name=name_for(output, item.name))
        outcome = Outcome(item.name, item.picture, seed=seed if item.seed is None else item.seed)
        if before := made(item):
            outcomes.append(before)
            continue
        if is_stopping() or any(one.error in (INTERRUPTED, NOT_BEGUN) for one in outcomes):
            outcome.error = NOT_BEGUN
            outcomes.append(outcome)
            continue
        bar = ProgressBar(stream, _one_line(f"[{number}/{len(items)}] {item.name}"))
        began = time.monotonic()
        try:
            make(item, outcome, bar)
        except KeyboardInterrupt:
            outcome.error = INTERRUPTED
        except Exception as error:  # noqa: BLE001 (whatever is wrong with one, the others are still to be made)
            outcome.error, _, outcome.log = explain(error).partition("\n")
        outcome.seconds = round(time.monotonic() - began, 2)
        bar.end(_what(outcome))
        note(outcome)
        outcomes.append(outcome)
    return outcomes


def lines(outcomes: Sequence[Outcome]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(line_of(outcome), allow_nan=False) + "\n" for outcome in outcomes)


def line_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it stands in reports."""
    return {"name": outcome.name, "status": "failed" if outcome.fault else "made", **asdict(outcome)}


def report(outcomes: Sequence[Outcome], skipped: Sequence[Skipped], heading: str) -> str:
    """Everything as a JSON object in ASCII, the outcomes as the list `heading`."""
    content = {
        "made": _made(outcomes),
        "of": len(outcomes),
        heading: [line_of(outcome) for outcome in outcomes],
        "skipped": [{"path": str(one.path), "reason": one.reason} for one in skipped],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def table(outcomes: Sequence[Outcome], skipped: Sequence[Skipped]) -> str:
    """Everything as lines of text, ending with how many were made."""
    rows = [
        ("FAILED" if one.fault else "made", one.name, f"{one.seconds:.1f} s", _what(one)) for one in outcomes
    ]
    rows += [("skipped", one.path.name, "", one.reason) for one in skipped]
    width = max((len(_one_line(name)) for _, name, _, _ in rows), default=0)
    lines = [f"{state:<7} {_one_line(name):<{width}} {time:>9}  {what}" for state, name, time, what in rows]
    return "\n".join([*lines, f"{_made(outcomes)} of {len(outcomes)} made.", ""])


def told(outcome: Outcome) -> str:
    """Its name and what became of it, on one line."""
    return f"{_one_line(outcome.name)}: {_what(outcome)}"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when all objects were made, 1 when some were, 2 when none was."""
    made = _made(outcomes)
    return 2 if not made else 0 if made == len(outcomes) else 1


def _made(outcomes: Sequence[Outcome]) -> int:
    return sum(not outcome.fault for outcome in outcomes)


def _what(outcome: Outcome) -> str:
    names = outcome.file_names
    names += [f"{Path(outcome.asset).name} in the asset library"] if outcome.asset else []
    return _one_line(outcome.fault or ", ".join(names))


def _one_line(text: str) -> str:
    """File names may hold line ends and what moves a terminal's cursor."""
    return text.translate(_ESCAPES)
