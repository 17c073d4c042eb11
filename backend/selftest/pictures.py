"""Goldens of picture preparation and of the image encoder."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor

from backend.errors import UserError
from backend.image import crop_box, open_picture, preprocess
from backend.models.dinov2 import DinoV2, DinoV2Config, load_dinov2
from backend.models.local_weights import read_tensors
from backend.selftest.golden import Golden

Answers = Iterator[tuple[str, Tensor] | tuple[str, Tensor, Tensor]]


def no_background_remover(picture: Image.Image) -> Image.Image:
    """The recorded pictures all have transparency of their own."""
    raise UserError("A recorded picture has no transparency; copy the goldens again.")


def prepared_pictures(golden: Golden) -> Answers:
    for name in golden.sidecar["images"]:
        picture = open_picture(golden.folder / name)
        alpha = numpy.asarray(picture.getchannel("A"))
        yield f"{name}/crop_box", torch.tensor(crop_box(alpha), dtype=torch.float32)
        prepared = numpy.asarray(preprocess(picture, no_background_remover))
        recorded = Image.open(golden.folder / f"{Path(name).stem}.out.png").convert("RGB")
        yield f"{name} pixels", torch.from_numpy(prepared.copy()), torch.from_numpy(numpy.array(recorded))
        yield f"{name}/mean", torch.from_numpy(_mean_like(prepared, golden[f"{name}/mean"]))


def _mean_like(prepared: numpy.ndarray, recorded: Tensor) -> numpy.ndarray:
    """Mean per channel, in 0..255 or 0..1 as it was recorded."""
    mean = prepared.reshape(-1, 3).mean(0, dtype=numpy.float64)
    return mean if recorded.max() > 1 else mean / 255


def image_encoder(golden: Golden) -> Answers:
    """The encoder from both key layouts, at every recorded picture size."""
    for layout, path in _layouts(golden).items():
        encoder = read_encoder(_config_file(golden), path).to(golden.device)
        for size in {name.split("/")[1] for name in golden.names("out/")}:
            for answer in _encoded(encoder, golden, size):
                name, actual = answer
                yield f"{name} ({layout})", actual, golden[name]


def read_encoder(config: Path, weights: Path) -> DinoV2:
    """An encoder from the original constructor words and weights in either key layout."""
    encoder = DinoV2(DinoV2Config.from_args(json.loads(config.read_text())))
    load_dinov2(encoder, read_tensors(weights), weights)
    return encoder.eval()


def _config_file(golden: Golden) -> Path:
    found = [p for p in golden.folder.glob("*.json") if "embed_dim" in json.loads(p.read_text())]
    if not found:
        raise UserError(f"The golden {golden.name} has no configuration of the encoder; copy it again.")
    return found[0]


def _layouts(golden: Golden) -> dict[str, Path]:
    original = _config_file(golden).with_suffix(".safetensors")
    hugging_face = golden.folder / "hf_layout.safetensors"
    layouts = {"original keys": original} | (
        {"Hugging Face keys": hugging_face} if hugging_face.is_file() else {}
    )
    return layouts


def _encoded(encoder: DinoV2, golden: Golden, size: str) -> Iterator[tuple[str, Tensor]]:
    pixels = _pixels(golden, size)
    tokens = encoder.prenorm(pixels)
    for name in golden.names(f"out/{size}/"):
        wanted = name.rsplit("/", 1)[1]
        if wanted == "x_prenorm":
            yield name, tokens
        elif wanted == "x_norm":
            yield name, encoder.network.layernorm(tokens)
        elif wanted == "cond":
            yield name, torch.nn.functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-5)


def _pixels(golden: Golden, size: str) -> Tensor:
    """The recorded input (1, 3, H, W), or the one that a recorded seed draws."""
    if (recorded := golden.get(f"in/{size}")) is not None:
        return recorded
    seed = re.search(r"manual_seed\((\d+)\)", golden.sidecar["inputs_by_seed"][size])
    height, width = map(int, size.split("x"))
    drawn = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(int(seed[1])))
    return drawn.to(golden.device)
