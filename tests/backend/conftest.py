"""What the backend's tests share: one tiny model folder a session, and real pictures."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
from PIL import Image
from tiny_clip import write_tiny_clip
from tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A shaded disc with transparency round it."""
    y, x = numpy.mgrid[-1:1:96j, -1:1:96j] * 1.3
    inside = (x**2 + y**2 < 1)[..., None]
    rgba = numpy.concatenate(
        [(x + 1.5)[..., None] * 90, (y + 1.5)[..., None] * 80, x[..., None] * 0 + 60], -1
    )
    pixels = numpy.concatenate([rgba, numpy.full_like(rgba[..., :1], 255)], -1) * inside
    path = tmp_path / "disc.png"
    Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8), "RGBA").save(path)
    return path


@pytest.fixture
def text_model(tiny_model, tmp_path) -> Path:
    """The tiny model with a text encoder in place of the image encoder."""
    folder = tmp_path / "text"
    shutil.copytree(tiny_model, folder)
    write_tiny_clip(folder / "text_cond_model", 32)
    settings = json.loads((folder / "pipeline.json").read_text())
    del settings["args"]["image_cond_model"]
    settings["args"]["text_cond_model"] = "openai/clip-vit-large-patch14"
    (folder / "pipeline.json").write_text(json.dumps(settings))
    return folder
