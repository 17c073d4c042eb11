"""Trains the starter model from a folder of objects, in parts that can be stopped and resumed.

python scripts/train_starter.py --data DIR --out runs/starter [--minutes N] [--parts lifting …] [--export DIR]
"""

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from backend.errors import UserError
from backend.training.assets import read_catalogue
from backend.training.dataset import ObjectSource
from backend.training.recipe import Recipe
from backend.training.starter import export_calibrated, first_light, train_all
from backend.training.workshop import PARTS, Workshop


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of glb, gltf, obj, ply, stl or npz objects"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/starter"), help="where the training keeps its state"
    )
    parser.add_argument(
        "--minutes", type=float, help="for the named parts together; default as the recipe says"
    )
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=list(PARTS), help="default all, in order"
    )
    parser.add_argument("--export", type=Path, help="write the model folder here (default OUT/model)")
    parser.add_argument("--no-export", action="store_true", help="train only")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def main() -> int:
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(options.threads)
    try:
        source = ObjectSource(read_catalogue(options.data))
        workshop = Workshop(Recipe(), source, options.out)
        train_all(workshop, tuple(options.parts), options.minutes)
        if not options.no_export:
            folder = options.export or options.out / "model"
            export_calibrated(workshop, folder)
            mean = first_light(
                workshop, folder, options.out / "first_light.png", options.out / "first_light.json"
            )
            sys.stdout.write(f"{folder}: " + ", ".join(f"{k} {v:.3f}" for k, v in mean.items()) + "\n")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
