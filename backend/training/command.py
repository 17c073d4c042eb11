"""`python -m backend train`: the starter model from a folder of objects, or an existing model taught such
objects, in one call or in pieces.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

import torch

from backend.device import choose_device
from backend.errors import UserError
from backend.files import make_writable_folder
from backend.geometry.mesh_files import SUFFIXES, read_catalogue
from backend.training.data.feeding import workers_for
from backend.training.data.prepare import prepare
from backend.training.distributed import World, joined_world
from backend.training.fine_tune.command import OUT as TAUGHT
from backend.training.fine_tune.command import add_options, teach
from backend.training.settings import Settings, kept_settings
from backend.training.starter.clock import Clock
from backend.training.starter.finish import Finish, finish, finished_parts, pack_unfinished, train_parts
from backend.training.starter.packing import TABLE, unpack
from backend.training.starter.recipe import Recipe
from backend.training.starter.run import PARTS, Workshop

log = logging.getLogger(__name__)
RECIPES = ("starter",)
OUT = Path("runs/starter/out")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m backend train", description=__doc__)
    add = result.add_argument
    add("--recipe", choices=RECIPES, help="what to train from nothing")
    add(
        "--data", type=Path, help=f"folder of objects ({', '.join(SUFFIXES)}), with or without a manifest.csv"
    )
    add(
        "--out",
        type=Path,
        help=f"gets the model in few files, scores, curves (default {OUT}; with --from alone {TAUGHT})",
    )
    add(
        "--state", type=Path, default=Path("runs/starter"), help="prepared data and the state of the training"
    )
    add("--device", default="auto", help="auto, cpu, cuda")
    add("--minutes", type=float, help="for everything together (default as the recipe says)")
    add("--piece-minutes", type=float, help="stop this call after so long; the same command goes on")
    add(
        "--parts",
        nargs="+",
        choices=PARTS,
        help="train these only (default all, in order) and export nothing",
    )
    add("--export", type=Path, help="write the model folder here (default STATE/model)")
    add(
        "--from",
        dest="start",
        type=Path,
        help="model folder, or packed files, to begin with; without --recipe the model to teach",
    )
    add("--unpack", type=Path, metavar="OUT", help="only turn packed files into the model folder --export")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=os.cpu_count() or 1)
    add_options(result)
    return result


def main(arguments: list[str]) -> int:
    """Runs the command; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    try:
        if options.unpack is not None:
            return _unpack(options)
        if options.data is None:
            raise UserError("There is nothing to train on; give --data with a folder of objects.")
        if options.recipe is None and options.start is None:
            raise UserError(
                "There is nothing to train; give --recipe starter, or --from with a model folder."
            )
        torch.set_num_threads(options.threads)
        with joined_world(choose_device(options.device)) as (world, device):
            run = teach if options.recipe is None else train_starter
            sentence = run(options, world, device)
            sys.stdout.write(f"{sentence}\n" if world.leads else "")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def train_starter(options: argparse.Namespace, world: World, device: torch.device) -> str:
    """Trains as far as this call goes; returns the sentence that says how far that is."""
    options.out = options.out or OUT
    for folder in (options.state, options.out):
        make_writable_folder(folder)
    recipe = Recipe().for_device(device)
    settings = kept_settings(
        options.state / "settings.json",
        Settings(str(options.data.resolve()), options.seed, device.type, options.minutes or recipe.minutes),
        asked_minutes=options.minutes,
        writes=world.leads,
    )
    clock = Clock(options.state / "clock.json", settings.minutes, options.piece_minutes)
    place = Finish(options.export or options.state / "model", options.out)
    budget = recipe.prepare_share * clock.total - clock.used
    source = prepare(
        recipe,
        read_catalogue(options.data),
        options.state / "prepared",
        options.threads,
        time.monotonic() + budget,
        options.seed,
        world,
        clock.training_end,
    )
    clock.save()
    if source is None:
        return f"The data is prepared in part; the same command goes on ({_spent(clock)})."
    workers = workers_for(device, options.threads)
    initial = _initial(options, place)
    workshop = Workshop(recipe, source, options.state, device, world, workers, initial)
    begun = finished_parts(options.state)
    if not train_parts(workshop, clock, tuple(options.parts or PARTS)):
        if world.leads:
            pack_unfinished(workshop, place)
            clock.save()
        where = f"the state is saved in {options.state}"
        return f"Stopped in time, {where}; the same command goes on ({_spent(clock)})."
    if options.parts:
        return f"The parts {', '.join(options.parts)} are trained; their state is in {options.state}."
    if not world.leads:
        world.wait()
        return ""
    ending = recipe.finish_share * clock.total
    if begun != finished_parts(options.state) and time.monotonic() + 0.5 * ending > clock.piece_end:
        pack_unfinished(workshop, place)
        world.wait()
        return f"All parts are trained; the same command calibrates and measures them ({_spent(clock)})."
    mean = finish(workshop, clock, place)
    world.wait()
    scores = ", ".join(f"{key} {value:.3f}" for key, value in mean.items()) or "too young to be measured"
    return f"{place.model} is ready, packed in {place.out}: {scores} ({_spent(clock)})."


def _initial(options: argparse.Namespace, place: Finish) -> Path | None:
    """The model folder to begin with: --from, or what an earlier machine packed in --out."""
    start: Path | None = options.start
    if start is None and (options.out / TABLE).is_file() and not any(options.state.glob("*.safetensors")):
        start = options.out
    if start is not None and (start / TABLE).is_file():
        if not place.model.is_dir():  # what is not trained again yet stays in what is packed next
            unpack(start, place.model)
        start = unpack(start, options.state / "initial")
    if start is not None and not (start / "ckpts").is_dir():
        raise UserError(f"{start} is no model folder and holds no packed files; choose another --from.")
    return start


def _unpack(options: argparse.Namespace) -> int:
    if options.export is None:
        raise UserError("Say with --export where the model folder is to be written.")
    sys.stdout.write(f"{unpack(options.unpack, options.export)} is the model folder.\n")
    return 0


def _spent(clock: Clock) -> str:
    return f"{clock.used / 60:.1f} of {clock.total / 60:g} minutes"
