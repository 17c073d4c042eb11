"""What a batch may be asked for, one object each: generate it, vary an asset, or edit a part of one."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..catalogue.entries import entries, find_entry
from ..protocol import Background, EditMode, Format
from .options import SEED_END
from .plan import Item, distinct_name, name_key

Do = Literal["generate", "vary", "edit"]
FILES = ("blend", "glb", "ply", "preview", "latents")
"""What may be written of an object."""


@dataclass(frozen=True)
class Work(Item):
    """One object, and what it differs in from the other objects of its batch; None: as the batch has it.

    What is varied or edited is the file `asset`, or the object `of` that the batch makes before this one.
    """

    do: Do = "generate"
    prompt: str = ""
    background: Background | None = None  # how that of the pictures goes
    asset: Path | None = None
    of: str = ""
    model: str = ""
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    formats: tuple[Format, ...] | None = None
    files: tuple[str, ...] | None = None  # of FILES
    shape: bool = False  # vary the shape too
    region: Path | Mapping[str, Any] | None = None
    mode: EditMode = "replace"
    start: Literal["guide", "asset"] = "guide"
    margin: int | None = None
    growth: int | None = None
    jumps: int | None = None


def model_in(folder: Path, model: str) -> str:
    """The absolute path of a model's folder that lies there; a name as it is, for the backend to find."""
    path = folder / os.path.expanduser(model)
    lies_there = os.path.isfile(path / "pipeline.json") or os.path.isdir(path / "snapshots")
    return str(path.absolute()) if lies_there and find_entry(model, entries()) is None else model


def works_of(
    items: Sequence[Item], first_seed: int, seeds: int = 1, variants: int = 0, strength: float | None = None
) -> list[Work]:
    """Every item with `seeds` seeds from `first_seed` on, each followed by so many variants of it.

    Names get a seed or a number behind them, and stay distinct. A variant's seed is as far behind its
    object's as its number says.
    """
    taken = {name_key(item.name) for item in items}
    works = []
    for item in items:
        for seed in range(first_seed, first_seed + seeds):
            name = item.name if seeds == 1 else distinct_name(f"{item.name}_seed_{seed}", taken)
            works.append(Work(name, item.pictures, seed % SEED_END))
            for number in range(1, variants + 1):
                variant = distinct_name(f"{name}_variant_{number}", taken)
                varied = Work(variant, item.pictures, (seed + number) % SEED_END, "vary", of=name)
                works.append(replace(varied, strength=strength))
    return works


def works_of_share(works: Sequence[Work], part: int, parts: int) -> list[Work]:
    """Every object of one of `parts` parts, 1 to `parts`; what is made of an object goes with it."""
    part_of: dict[str, int] = {}
    roots = 0
    for work in works:
        part_of[work.name] = part_of[work.of] if work.of else roots % parts
        roots += not work.of
    return [work for work in works if part_of[work.name] == part - 1]


def with_latents(works: Sequence[Work], files: tuple[str, ...]) -> list[Work]:
    """The same, where objects that others start from write their latents too; `files`: what all write."""
    needed = {work.of for work in works}

    def settled(work: Work) -> Work:
        own = files if work.files is None else work.files
        return replace(work, files=tuple(dict.fromkeys((*own, "latents"))) if work.name in needed else own)

    return [settled(work) for work in works]
