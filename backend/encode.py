"""`python -m backend encode`: a mesh file to the latents of an asset, and to what decodes from them."""

import argparse
from collections.abc import Sequence

from backend.edit import Made, add_formats_option, asset_options, make_from_latents, stem_of
from backend.trellis.asset import AssetLatents
from backend.trellis.encode import decode_asset
from backend.trellis.networks import Networks


def main(argv: Sequence[str]) -> int:
    """0, or 2 with a sentence."""
    wanted = asset_options(
        "encode",
        "Turn a mesh into an asset that can be edited: its latents, and the twin that they decode to.",
    )
    add_formats_option(wanted)
    options = wanted.parse_args(argv)
    return make_from_latents(options, [options.name or f"{stem_of(options.asset)}_encoded"], _twin)


def _twin(networks: Networks, asset: AssetLatents, options: argparse.Namespace) -> Made:
    yield decode_asset(networks, asset, options.formats)
