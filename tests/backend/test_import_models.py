"""Models from a folder, and what verifying and deleting says of them."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from backend.checkpoints.find_model import find_model
from backend.downloads.import_folder import import_folder
from backend.downloads.install import delete
from backend.downloads.verify import verify
from backend.errors import UserError
from blender_trellis.catalogue.entries import Entry, entries, find_entry
from blender_trellis.catalogue.installed import ARRIVING, presence


@pytest.fixture
def models(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    monkeypatch.setenv("TRELLIS_MODELS", str(folder))
    return folder


def take(folder, models, link=False):
    amounts = []
    return import_folder(folder, models, entries(), link, amounts.append), amounts


def test_a_folder_is_copied_and_can_be_used(tiny_model, models):
    taken, amounts = take(tiny_model, models)
    assert taken == ["tiny"] and amounts[-1].done == amounts[-1].total > 0
    assert find_model("tiny") == models / "tiny"
    assert "is whole: headers of" in verify("tiny", entries(), models)
    assert not list((models / ARRIVING).iterdir())
    with pytest.raises(UserError, match="tiny is already in .*: delete it there first"):
        take(tiny_model, models)


def test_what_is_copied_is_named_before_anything_of_it_lies_there(tiny_model, models):
    seen = []
    import_folder(
        tiny_model,
        models,
        entries(),
        False,
        lambda amount: seen.append((amount.name, (models / ARRIVING / "tiny.import").exists())),
    )
    assert seen[0] == ("tiny", False) and seen[-1] == ("tiny", True)


def test_the_folder_in_which_one_stands_has_its_own_name(tiny_model, models, monkeypatch):
    monkeypatch.chdir(tiny_model)
    assert take(Path("."), models)[0] == ["tiny"]
    monkeypatch.chdir(tiny_model / "ckpts")
    with pytest.raises(UserError, match="tiny is already in"):
        take(Path(".."), models)


def test_a_linked_folder_stays_where_it_is(tiny_model, models):
    taken, _ = take(tiny_model, models, link=True)
    assert taken == ["tiny"] and (models / "tiny").is_symlink() and find_model("tiny") == tiny_model
    delete(Entry("tiny", "model", "published", "Tiny", "", "", place="tiny"), models)
    assert not (models / "tiny").exists() and (tiny_model / "pipeline.json").is_file()


def test_weights_of_another_network_are_refused(tiny_model, models, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    path = next((broken / "ckpts").glob("*flow*.safetensors"))
    tensors = load_file(path)
    lost = sorted(tensors)[0]
    save_file({key: value for key, value in tensors.items() if key != lost}, path)
    with pytest.raises(UserError, match=f"1 keys missing \\({lost}\\)"):
        take(broken, models)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        take(broken, models)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        take(broken, models)
    assert not models.exists() or not (models / "broken").exists()


def test_a_copied_models_folder_brings_all_that_is_in_it(tiny_model, models, tmp_path):
    """A model under the name of a snapshot, an encoder, a remover, and something else."""
    stick = tmp_path / "stick"
    snapshot = stick / "models--owner--mine" / "snapshots" / "abc"
    shutil.copytree(tiny_model, snapshot)
    encoder = stick / "an encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "dinov2_with_registers", "hidden_size": 1024}')
    save_file(load_file(next((tiny_model / "ckpts").glob("*.safetensors"))), encoder / "model.safetensors")
    (stick / "u2net.onnx").write_bytes(b"remover")
    (stick / "holiday").mkdir()
    taken, _ = take(stick, models)
    assert sorted(taken) == ["dinov2-with-registers-large", "mine", "u2net.onnx"]
    assert (models / "mine" / "pipeline.json").is_file() and (
        models / "u2net.onnx"
    ).read_bytes() == b"remover"
    part = find_entry("dinov2-with-registers-large", entries())
    assert presence(part, models).where == "folder"
    with pytest.raises(UserError, match="wrong sha256"):  # it is not the published one
        verify(part.name, entries(), models)


def test_a_folder_without_a_model_is_named(models, tmp_path):
    with pytest.raises(UserError, match="holds no model: choose a folder with a pipeline.json"):
        take(tmp_path, models)
    with pytest.raises(UserError, match="is no folder"):
        take(tmp_path / "absent", models)


def test_one_wrong_byte_is_found(tiny_model, models):
    shutil.copytree(tiny_model, models / "tiny")
    path = next((models / "tiny" / "ckpts").glob("*flow*.safetensors"))
    (models / "tiny" / "SHA256SUMS").write_text(
        f"{sha256(path.read_bytes()).hexdigest()}  ckpts/{path.name}\n"
    )
    assert "hashes and headers" in verify("tiny", entries(), models)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        verify("tiny", entries(), models)


def test_bundled_models_are_whole_and_stay(models):
    assert "Starter is whole: hashes and headers" in verify("starter", entries(), models)
    with pytest.raises(UserError, match="cannot be deleted"):
        delete(find_entry("starter", entries()), models)
    with pytest.raises(UserError, match="TRELLIS text base is not here yet"):
        verify("TRELLIS-text-base", entries(), models)
