"""`python -m backend vary`: variants of an asset, from the latents beside its files."""

import argparse
from collections.abc import Sequence

from backend.edit import Made, guide_of, make_from_latents, options_of, sampling_of, stem_of
from backend.trellis.asset import AssetLatents
from backend.trellis.networks import Networks
from backend.trellis.vary import vary

MAX_COUNT = 1000


def main(argv: Sequence[str]) -> int:
    """0, or 2 with a sentence."""
    wanted = options_of("vary", "Make variants of an asset: its look anew on its voxels, or its shape too.")
    wanted.add_argument(
        "--count", type=count, default=1, help="how many, each from the next seed (default: 1)"
    )
    wanted.add_argument("--shape", action="store_true", help="vary the shape too (default: the look alone)")
    options = wanted.parse_args(argv)
    stem = options.name or f"{stem_of(options.asset)}_variant"
    return make_from_latents(options, [f"{stem}_{number + 1}" for number in range(options.count)], _varied)


def count(text: str) -> int:
    """The type of an option: 1 to MAX_COUNT."""
    if not 1 <= int(text) <= MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text} variants cannot be made; choose 1 to {MAX_COUNT}")
    return int(text)


def _varied(networks: Networks, asset: AssetLatents, options: argparse.Namespace) -> Made:
    guide, sampling = guide_of(options), sampling_of(networks, options, another_look=not options.shape)
    for number in range(options.count):
        yield vary(networks, asset, guide, sampling, options.seed + number, options.shape)
