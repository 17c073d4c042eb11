"""`python -m backend train`: a recipe's model from a folder of objects, or an existing model trained further
on them, in one call or in pieces.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from backend.checkpoints.model_folder import open_folder
from backend.errors import UserError
from backend.files import make_writable_folder
from backend.geometry.mesh_files import SUFFIXES, read_catalogue
from backend.machine.device import choose_device
from backend.training.data.feeding import workers_for
from backend.training.data.records import OutOfTime
from backend.training.distributed import World, cores_of_process, joined_world
from backend.training.fine_tune.captions import read_captions
from backend.training.fine_tune.config import FineTuneConfig
from backend.training.fine_tune.run import fine_tune
from backend.training.run import claim, read_json, scaled
from backend.training.starter.finish import finish
from backend.training.starter.prepare import prepare
from backend.training.starter.recipe import PARTS, Recipe
from backend.training.starter.run import StarterRun
from backend.training.text.recipe import PARTS as TEXT_PARTS
from backend.training.text.recipe import TextRecipe
from backend.training.text.run import TextRun

FINE_TUNED = "fine_tuned"
GOES_ON = "the same command goes on"


@dataclass(frozen=True)
class Call:
    """One call of the command: its options, where it runs and writes, and when by time.monotonic() it ends.

    At `until` the training stops, so that its state is saved before `end`.
    """

    options: argparse.Namespace
    world: World
    device: torch.device
    state: Path
    out: Path
    model: Path
    until: float
    end: float


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m backend train", description=__doc__)
    add = result.add_argument
    add("--recipe", choices=RECIPES, help="what to train from nothing; the text model stands on a starter")
    add(
        "--data", type=Path, help=f"folder of objects ({', '.join(SUFFIXES)}), with or without a manifest.csv"
    )
    add("--from", dest="start", help="model to begin with; without --recipe the model to fine-tune")
    add(
        "--out",
        type=Path,
        help=f"gets the model and what is reported of it (default runs/RECIPE or runs/{FINE_TUNED})",
    )
    add("--state", type=Path, help="prepared data and the state of the training (default --out)")
    add("--export", type=Path, help="write the model folder here (default OUT/model)")
    add("--device", default="auto", help="auto, cpu, cuda (default auto)")
    add(
        "--minutes",
        type=float,
        help="for everything together, of fine-tuning for all parts (default as the recipe says)",
    )
    add("--piece-minutes", type=float, help=f"stop this call after so long; {GOES_ON}")
    add(
        "--parts",
        nargs="+",
        choices=dict.fromkeys((*PARTS, *TEXT_PARTS)),
        help="train these only (default all, in order)",
    )
    add("--seed", type=int, default=0, help="default 0")
    add("--threads", type=int, default=cores_of_process(), help="of this process (default its share)")
    group = result.add_argument_group("fine-tuning (--from without --recipe)")
    default = FineTuneConfig()
    group.add_argument("--learning-rate", type=float, help="default 1e-5, for small networks 1e-4")
    group.add_argument(
        "--steps",
        type=int,
        default=default.steps,
        help=f"of each part, where no --minutes are given (default {default.steps})",
    )
    group.add_argument(
        "--pictures",
        type=int,
        default=default.pictures,
        help=f"drawn of each object (default {default.pictures})",
    )
    return result


def main(arguments: list[str]) -> int:
    """Runs the command; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    try:
        if options.data is None:
            raise UserError("There is nothing to train on; give --data with a folder of objects.")
        if options.recipe is None and options.start is None:
            raise UserError(
                f"There is nothing to train; give --recipe ({', '.join(RECIPES)}) or --from MODEL."
            )
        if options.minutes is not None and not 0 < options.minutes < math.inf:
            raise UserError(f"A training takes more than 0 minutes, not {options.minutes:g}.")
        torch.set_num_threads(options.threads)
        with joined_world(choose_device(options.device)) as (world, device):
            sentence = RECIPES.get(options.recipe, further)(_call(options, world, device))
            sys.stdout.write(f"{sentence}\n" if world.leads else "")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _call(options: argparse.Namespace, world: World, device: torch.device) -> Call:
    out = options.out or Path("runs") / (options.recipe or FINE_TUNED)
    state = options.state or out
    for folder in (out, state):
        make_writable_folder(folder)
    started = time.monotonic()
    piece = math.inf if options.piece_minutes is None else 60 * options.piece_minutes
    model = options.export or out / "model"
    return Call(options, world, device, state, out, model, started + 0.9 * piece, started + piece)


def train_starter(call: Call) -> str:
    """Trains the starter as far as this call goes; returns the sentence that says how far that is."""
    options, world = call.options, call.world
    recipe = Recipe().for_device(call.device)
    initial = open_folder(options.start).path if options.start else None
    minutes = _minutes(call, recipe.minutes)
    parts = _parts(options.parts, PARTS, "starter")
    shares = 1 - recipe.prepare_share - recipe.finish_share
    recipe = replace(recipe, loops=scaled(recipe.loops, parts, shares * minutes))
    source = prepare(
        recipe,
        read_catalogue(options.data),
        call.state / "prepared",
        options.threads,
        time.monotonic() + 60 * recipe.prepare_share * minutes,
        options.seed,
        world,
        call.until,
    )
    if source is None:
        return f"The data is prepared in part; {GOES_ON}."
    workers = workers_for(call.device, options.threads)
    run = StarterRun(recipe, source, call.state, call.device, world, workers, initial)
    begun = any(not run.is_finished(name) for name in parts)
    if not run.train_all(parts, call.until):
        return f"Stopped in time, the state is saved in {call.state}; {GOES_ON}."
    if options.parts:
        return f"The parts {', '.join(parts)} are trained; their state is in {call.state}."
    ending = 60 * recipe.finish_share * minutes
    if begun and time.monotonic() + 0.5 * ending > call.end:
        return f"All parts are trained; the same command calibrates and measures them ({call.state})."
    sentence = ""
    if world.leads:
        mean = finish(run, call.model, call.out, min(time.monotonic() + ending, call.end - 5))
        scores = ", ".join(f"{key} {value:.3f}" for key, value in mean.items())
        sentence = f"{call.model} is ready: {scores or 'it has learned too little to be measured'}."
    world.wait()
    return sentence


def train_text(call: Call) -> str:
    """Trains the text model on a starter's folder, as far as this call goes."""
    options, recipe = call.options, TextRecipe()
    parts = _parts(options.parts, TEXT_PARTS, "text model")
    minutes = _minutes(call, sum(loop.minutes for loop in recipe.loops.values()))
    recipe = replace(recipe, loops=scaled(recipe.loops, parts, minutes))
    starter, entries = open_folder(options.start or "starter"), read_catalogue(options.data)
    run = TextRun(recipe, entries, starter, call.state, call.device, call.world, options.seed, call.until)
    try:
        over = run.train_all(parts, call.until)
    except OutOfTime:
        over = False
    if not over:
        return f"Stopped in time, the state is saved in {call.state}; {GOES_ON}."
    if options.parts:
        return f"The parts {', '.join(parts)} are trained; their state is in {call.state}."
    if call.world.leads:
        run.export(call.model)
    call.world.wait()
    return f"{call.model} is ready; it is used beside the folder of {starter.name}, whose decoders it names."


def further(call: Call) -> str:
    """Fine-tunes an existing model as far as this call goes."""
    options = call.options
    settings = FineTuneConfig(
        parts=tuple(options.parts) if options.parts else None,
        steps=options.steps,
        minutes=options.minutes or 0.0,
        learning_rate=options.learning_rate,
        pictures=options.pictures,
        seed=options.seed,
    )
    entries = read_catalogue(options.data)
    captions = read_captions(options.data, entries)
    model = fine_tune(
        options.start,
        entries,
        call.state,
        call.device,
        settings,
        captions,
        call.until,
        call.world,
        call.model,
    )
    if model is None:
        return f"Stopped in time, the state is saved in {call.state}; {GOES_ON}."
    losses = read_json(call.state / "losses.json")
    change = ", ".join(f"{name} {one['before']:.3f} -> {one['after']:.3f}" for name, one in losses.items())
    return f"{model} is the fine-tuned model; loss before and after: {change}."


def _parts(wanted: Sequence[str] | None, among: Sequence[str], what: str) -> tuple[str, ...]:
    """Those wanted of all, which are trained without a wish; UserError for one of another model."""
    if unknown := set(wanted or ()) - set(among):
        raise UserError(f"The {what} has no {', '.join(sorted(unknown))}; choose among {', '.join(among)}.")
    return tuple(wanted or among)


def _minutes(call: Call, default: float) -> float:
    """The minutes for everything: those asked for or begun with; a state goes on with the same settings."""
    kept = read_json(call.state / "settings.json").get("minutes", default)
    minutes = call.options.minutes or kept
    given = {"recipe": call.options.recipe, "seed": call.options.seed, "device": call.device.type}
    claim(call.state, {**given, "minutes": minutes}, call.world)
    return minutes


RECIPES = {"starter": train_starter, "starter-text": train_text}
