"""The sheet of sentences in docs/starter.md: what a text model makes of each, from its seeds.

    .venv/bin/python scripts/sentence_sheet.py [--model starter-text] [--seeds 2] [--output FILE] [SENTENCE …]

Every seed's mesh is shown from its front, turned aside. Run by the backend's Python.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from backend.errors import UserError  # noqa: E402
from backend.evaluation.contact_sheet import contact_sheet  # noqa: E402
from backend.geometry.portrait import decoded_asset  # noqa: E402
from backend.geometry.render import render_whole  # noqa: E402
from backend.geometry.scene import turned_mesh  # noqa: E402
from backend.geometry.views import fixed_view  # noqa: E402
from backend.machine.device import choose_device, choose_dtype  # noqa: E402
from backend.trellis.generate import generate  # noqa: E402
from backend.trellis.networks import Networks  # noqa: E402
from backend.trellis.stages import Output, Settings  # noqa: E402

SENTENCES = (
    "a red chair", "a wooden chair", "a lamp", "a street lamp", "a car", "a blue police car", "a tree",
    "a pine tree", "a house", "a small red house", "a sword", "a golden sword", "a mushroom",
    "a red mushroom",
    "a bottle", "a green bottle", "a table", "a round wooden table", "a robot", "a yellow robot", "a boat",
    "a sailing boat", "a cat", "a black cat",
)  # fmt: skip
SIZE, COLUMNS = 192, 4
ASIDE = math.radians(30)
VIEW = replace(fixed_view(0.0, math.radians(20), math.radians(40)), distance=2.1)
BACKGROUND, INK = 205, (20, 20, 20)


def main() -> int:
    """Draws the sheet."""
    options = _options()
    device = choose_device("auto")
    networks = Networks.open(options.model, device, choose_dtype(device, "auto"))
    rows = [_row(networks, sentence, options.seeds) for sentence in options.sentences or SENTENCES]
    contact_sheet(rows, COLUMNS).save(options.output, quality=88)
    return 0


def _row(networks: Networks, sentence: str, seeds: int) -> np.ndarray:
    """One sentence's objects side by side: (S, seeds · S, 3) u8."""
    tiles = [_tile(networks, sentence, seed) for seed in range(1, seeds + 1)]
    row = Image.fromarray(np.concatenate(tiles, axis=1))
    ImageDraw.Draw(row).text((5, 3), sentence, fill=INK)
    return np.asarray(row)


@torch.inference_mode()
def _tile(networks: Networks, sentence: str, seed: int) -> np.ndarray:
    """(S, S, 3) u8, empty where the model knows nothing of the sentence."""
    empty = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    settings = Settings(networks.folder.structure_sampler, networks.folder.slat_sampler, ("mesh",))
    try:
        events = list(generate(networks, sentence, settings, torch.Generator().manual_seed(seed)))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return empty
    (mesh,) = (one.value for one in events if isinstance(one, Output) and one.kind == "mesh")
    drawn = render_whole(turned_mesh(decoded_asset(mesh), ASIDE), VIEW, SIZE)
    alpha = drawn.alpha.reshape(SIZE, SIZE, 1)
    return (np.clip(drawn.color, 0, 1) * 255 + (1 - alpha) * empty).clip(0, 255).round().astype(np.uint8)


def _options() -> argparse.Namespace:
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    wanted.add_argument("sentences", nargs="*", metavar="SENTENCE")
    wanted.add_argument("--model", default="starter-text")
    wanted.add_argument("--seeds", type=int, default=2)
    wanted.add_argument("--output", type=Path, default=ROOT / "docs" / "starter" / "sentences.jpg")
    return wanted.parse_args()


if __name__ == "__main__":
    sys.exit(main())
