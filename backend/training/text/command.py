"""`python -m backend.training.text.command`: the text model beside a trained starter, or a part of it."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from backend.errors import UserError
from backend.files import make_writable_folder
from backend.geometry.mesh_files import read_catalogue
from backend.training.dataset import ObjectSource
from backend.training.starter.recipe import Recipe
from backend.training.starter.run import Workshop
from backend.training.text.export import export_text
from backend.training.text.recipe import TextRecipe
from backend.training.text.run import TEXT_PARTS, TextWorkshop


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m backend.training.text.command", description=__doc__)
    add = result.add_argument
    add("--data", type=Path, required=True, help="the folder of objects that the starter was trained on")
    add("--starter-state", type=Path, required=True, help="folder with the state of the starter's training")
    add(
        "--out", type=Path, default=Path("runs/starter-text"), help="prepared data and state of this training"
    )
    add("--minutes", type=float, help="for all chosen parts together (default as the recipe says)")
    add("--parts", nargs="+", choices=TEXT_PARTS, default=TEXT_PARTS, help="train these only")
    add("--export", type=Path, help="then write the model folder here")
    add("--starter", default="starter", help="name of the starter's model folder, beside the written one")
    add("--threads", type=int, default=2)
    return result


def main(arguments: list[str]) -> int:
    """Runs the command; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(options.threads)
    try:
        make_writable_folder(options.out)
        entries = read_catalogue(options.data)
        starter = Workshop(Recipe(), ObjectSource(entries), options.starter_state)
        workshop = TextWorkshop(TextRecipe(), entries, starter, options.out)
        budgets = {part: workshop.recipe.loops[part].minutes for part in options.parts}
        scale = 1.0 if options.minutes is None else options.minutes / sum(budgets.values())
        for part, minutes in budgets.items():
            workshop.train(part, minutes * scale)
        if options.export is not None:
            export_text(workshop, options.export, options.starter)
            sys.stdout.write(f"{options.export} is ready.\n")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
