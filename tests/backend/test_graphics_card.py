"""What is asked of a graphics card is there, and nothing is left behind in the machine's memory."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from simulated_card import CARD, Card, OnCard
from tiny_model import write_tiny_model

from backend.geometry.portrait import portrait
from backend.geometry.region import Region, make_box
from backend.image import open_picture, preprocess
from backend.trellis import residency
from backend.trellis.asset import latents_of
from backend.trellis.edit import EditSettings, edit
from backend.trellis.encode import decode_asset
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.outputs import checked, describe
from backend.trellis.preflight import check
from backend.trellis.residency import Residency
from backend.trellis.stages import Output, Settings
from backend.trellis.vary import vary

HALF = Region((make_box([0.2, 0, 0], [0.4, 1, 1]),))
KINDS = {"tiny": ("mesh", "gaussian", "radiance_field")}
# The bundled ones take their time and are for what they alone do.
MODES = {"tiny": ("replace", "look", "remove"), "starter": (), "starter-text": ("replace",)}
SHAPES = {"tiny": (False, True), "starter": (), "starter-text": (True,)}


def outputs_of(events) -> dict:
    """All of them, each sound and ready to be sent."""
    found = {one.kind: checked(one.value) for one in events if isinstance(one, Output)}
    for part in found.values():
        assert all(isinstance(array, np.ndarray) for array in describe(part)[1].values())
    return found


def test_devices_do_not_mix_and_what_cards_lack_is_refused():
    with Card():
        here = torch.ones(3, device=CARD)
        assert isinstance(here, OnCard) and float((here + 1).sum()) == 6 and here.cpu().numpy().sum() == 3
        with pytest.raises(AssertionError, match="two devices"):
            here + torch.ones(3)
        with pytest.raises(AssertionError, match="not there"):
            here.long() @ here.long()
        with pytest.raises(TypeError, match="double"):
            here.double()
        with pytest.raises(RuntimeError):
            here.numpy()


@pytest.mark.parametrize("model", ["tiny", "starter", "starter-text"])
def test_objects_are_made_edited_and_varied_on_a_card(model, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "free_bytes", lambda device: 16 << 30)
    folder = write_tiny_model(tmp_path / "tiny") if model == "tiny" else model
    guide = "a red car"
    if model != "starter-text":
        guide = [preprocess(open_picture(picture), lambda image: image)]
    with Card():
        networks = Networks.open(folder, CARD, torch.float32)
        networks.residency = Residency(CARD, "keep")
        own = networks.folder
        samplers = own.structure_sampler, own.slat_sampler
        if model != "starter":
            samplers = tuple(replace(one, steps=2, strength=1.0) for one in samplers)
        settings = Settings(*samplers, KINDS.get(model, ("mesh", "gaussian")))
        made = outputs_of(generate(networks, guide, settings, torch.Generator().manual_seed(1)))
        asset = latents_of(made, own.name, own.hash, "")
        kinds = {*settings.formats}
        assert kinds <= {*made} and isinstance(made["mesh"].vertices, OnCard)
        for mode in MODES[model]:
            given = None if mode == "remove" else guide
            events = edit(networks, asset.to(CARD), given, HALF, EditSettings(settings, mode, 3))
            assert kinds <= {*outputs_of(events)}
        for shape in SHAPES[model]:
            assert kinds <= {*outputs_of(vary(networks, asset.to(CARD), guide, settings, 3, shape))}
        assert len(portrait(made["mesh"], azimuth=math.pi / 4).getcolors(1 << 20)) > 1
        with torch.inference_mode():
            assert kinds <= {*outputs_of(decode_asset(networks, asset.to(CARD), settings.formats))}


@pytest.mark.parametrize("model, memory", [("starter", "release"), ("starter-text", "auto")])
def test_objects_are_made_where_the_encoder_leaves_the_card(model, memory, picture, monkeypatch):
    monkeypatch.setattr(check, "free_bytes", lambda device: 16 << 30)
    monkeypatch.setattr(residency, "free_bytes", lambda device: 0)
    guide = "a red car"
    if model == "starter":
        guide = [preprocess(open_picture(picture), lambda image: image)]
    with Card():
        networks = Networks.open(model, CARD, torch.float32)
        networks.residency = Residency(CARD, memory)
        own = networks.folder
        samplers = (replace(one, steps=1) for one in (own.structure_sampler, own.slat_sampler))
        events = generate(
            networks, guide, Settings(*samplers, ("gaussian",)), torch.Generator().manual_seed(1)
        )
        assert "gaussian" in outputs_of(events)
