"""`python -m backend vary`: variants of an asset, from the latents beside its files."""

import argparse
from collections.abc import Sequence

from backend.edit import Made, guide_of, make_from_latents, options_of, sampling_of, stem_of
from backend.trellis.asset import AssetLatents
from backend.trellis.networks import Networks
from backend.trellis.vary import vary


def main(argv: Sequence[str]) -> int:
    """0, or 2 with a sentence."""
    wanted = options_of("vary", "Make variants of an asset: its look anew on its voxels, or its shape too.")
    wanted.add_argument("--count", type=int, default=1, help="how many, each from the next seed")
    wanted.add_argument("--shape", action="store_true", help="vary the shape too")
    return make_from_latents(wanted.parse_args(argv), _varied)


def _varied(networks: Networks, asset: AssetLatents, options: argparse.Namespace) -> Made:
    guide, sampling = guide_of(options), sampling_of(networks, options)
    for number in range(options.count):
        name = f"{options.name or stem_of(options.asset) + '_variant'}_{number + 1}"
        yield name, vary(networks, asset, guide, sampling, options.seed + number, options.shape)
