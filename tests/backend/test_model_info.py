"""What models say of themselves, and that it is true of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backend.background import remove_background
from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.model_info import available_model_infos, model_info, nothing_found
from backend.image import cut_out, open_picture
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings
from blender_trellis.protocol import StageInfo

CHAIR = Path(__file__).parents[2] / "docs" / "pictures" / "chair.png"


def test_a_published_layout_takes_pictures_and_heeds_all_but_the_strength(tiny_model: Path) -> None:
    info = model_info(open_folder(tiny_model))
    assert (info.takes, info.several_pictures) == (("pictures",), True)
    assert info.gives == ("mesh", "gaussian", "radiance_field")
    assert info.stages == (
        StageInfo("sparse_structure", 3, 2.0, 3.0, 1.0),
        StageInfo("structured_latent", 3, 2.0, 3.0, 1.0),
    )
    assert set(info.without_effect) == {"strength"}


def test_the_bundled_model_of_pictures_heeds_every_setting() -> None:
    info = model_info(open_folder("starter"))
    assert info.takes == ("pictures",) and info.gives == ("mesh", "gaussian") and info.several_pictures
    assert info.stage("sparse_structure") == StageInfo("sparse_structure", 4, 2.0, 1.0, 0.3)
    assert not info.without_effect


def test_the_bundled_text_model_tells_what_it_does_not_heed() -> None:
    info = model_info(open_folder("starter-text"))
    assert info.takes == ("text",) and info.gives == ("mesh", "gaussian") and not info.several_pictures
    assert info.stage("sparse_structure") == StageInfo("sparse_structure", 2, 0.0, 1.0, 0.03)
    assert set(info.without_effect) == {"steps", "rescale_t", "multi_image", "cfg_strength"}
    assert all(reason.endswith(".") and "\n" not in reason for reason in info.without_effect.values())


def test_the_starters_strength_leads_from_the_guess_to_what_seeds_make_of_it() -> None:
    networks = Networks.open("starter", torch.device("cpu"), torch.float32)
    picture = cut_out(open_picture(CHAIR), remove_background)
    condition = networks.conditioner.from_pictures([picture])

    def structure(seed: int, **changes: float) -> tuple[torch.Tensor, set[tuple[int, ...]]]:
        settings = replace(networks.folder.structure_sampler, **changes)
        generator = torch.Generator().manual_seed(seed)
        events = generate(networks, condition, Settings(settings, settings, ()), generator)
        outputs = {one.kind: one.value for one in events if isinstance(one, Output)}
        voxels = outputs["voxels"].coords.tolist()
        return outputs["structure_latent"], {tuple(one) for one in voxels}

    def alike(**changes: float) -> float:
        (_, a), (_, b) = structure(1, **changes), structure(2, **changes)
        return len(a & b) / len(a | b)

    assert alike(strength=0.03) > 0.98 > alike() > alike(strength=1.0) > 0.1
    latent, _ = structure(1)
    for changes in ({"cfg_strength": 0.0}, {"steps": 8}, {"rescale_t": 3.0}):
        assert not torch.allclose(structure(1, **changes)[0], latent, atol=0.01)


def test_what_a_sampler_makes_of_guidance_decides_whether_it_has_an_effect(tiny_model: Path) -> None:
    folder = open_folder(tiny_model)
    late = replace(folder.structure_sampler, strength=0.4)
    assert (
        "cfg_strength"
        in model_info(replace(folder, structure_sampler=late, slat_sampler=late)).without_effect
    )
    assert "cfg_strength" not in model_info(replace(folder, structure_sampler=late)).without_effect


def test_remedies_are_those_that_help(tiny_model: Path) -> None:
    for heeding in (tiny_model, "starter"):
        assert "try another seed or more steps or a picture" in nothing_found(open_folder(heeding))
    assert "try another seed or other words." in nothing_found(open_folder("starter-text"))


def test_a_name_says_nothing_and_a_broken_model_is_still_listed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path))
    pipeline = (tiny_model / "pipeline.json").read_text()
    for name, text in (("my-textured-cars", pipeline), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pipeline.json").write_text(text)
    words = json.loads(pipeline)
    words["args"]["text_cond_model"] = words["args"].pop("image_cond_model")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "pipeline.json").write_text(json.dumps(words))
    infos = {info.name: info for info in available_model_infos()}
    assert infos["my-textured-cars"].takes == ("pictures",)
    assert infos["words"].takes == ("text",)
    assert infos["broken"].takes == () == infos["broken"].gives
