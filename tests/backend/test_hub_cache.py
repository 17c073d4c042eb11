"""Models and encoders in the download cache of huggingface_hub, laid out as `hf download` does."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_minilm import write_tiny_minilm
from tiny_model import write_tiny_model

from backend.checkpoints.find_model import available_models
from backend.checkpoints.model_folder import open_folder
from backend.checkpoints.weights import read_model
from backend.errors import MissingModel, UserError
from backend.models.minilm_text import PUBLISHED, load_sentence_encoder

NAME = "microsoft/TRELLIS-image-large"
Cache = Callable[..., Path]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("plain") / "tiny")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, named by HF_HUB_CACHE; nothing of this machine is seen."""
    for variable in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("TRELLIS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def download(
    source: Path, hub: Path, name: str = NAME, revision: str = "0123abcd", main: bool = True
) -> Path:
    """`source` in the cache: files in blobs/, links to them in the snapshot, which is returned."""
    repository = hub / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision
    for number, path in enumerate(sorted(path for path in source.rglob("*") if path.is_file())):
        blob = repository / "blobs" / f"{revision}{number:040x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link = snapshot / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir(exist_ok=True)
    if main:
        (repository / "refs" / "main").write_text(revision)
    return snapshot


def test_a_download_is_found_by_every_name_and_listed_under_the_readable_one(tiny: Path, hub: Path) -> None:
    snapshot = download(tiny, hub)
    for asked in (
        NAME,
        "TRELLIS-image-large",
        snapshot.parents[1].name,
        str(snapshot.parents[1]),
        snapshot.parent,
        snapshot,
    ):
        folder = open_folder(asked)
        assert folder.path == snapshot
        assert read_model(folder.models["slat_flow_model"]).config.in_channels == 4
    assert open_folder(snapshot).name == open_folder(snapshot.parents[1]).name == NAME
    assert NAME in available_models()
    assert open_folder(NAME).hash == open_folder(tiny).hash


@pytest.mark.parametrize(
    ("variable", "below"),
    [
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HOME", ".cache/huggingface/hub"),
        ("TRELLIS_MODELS", ""),
    ],
)
def test_every_place_of_the_cache(
    tiny: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv(variable, str(tmp_path / "place"))
    if variable == "HOME":
        monkeypatch.setenv("USERPROFILE", str(tmp_path / "place"))
    snapshot = download(tiny, tmp_path / "place" / below)
    assert open_folder(NAME).path == snapshot


def test_main_goes_before_newer_snapshots_and_whole_ones_before_main(tiny: Path, hub: Path) -> None:
    main = download(tiny, hub)
    newer = download(tiny, hub, revision="newer", main=False)
    os.utime(newer, (2e9, 2e9))
    assert open_folder(NAME).path == main
    (main / "ckpts" / "slat_decoder_gs.safetensors").resolve().unlink()
    assert open_folder(NAME).path == newer
    (hub / "models--microsoft--TRELLIS-image-large" / "refs" / "main").unlink()
    assert open_folder(NAME).path == newer


def test_a_download_that_was_cut_off_is_named(tiny: Path, hub: Path) -> None:
    snapshot = download(tiny, hub)
    (snapshot / "ckpts" / "slat_decoder_gs.safetensors").resolve().unlink()
    with pytest.raises(UserError, match=r"0123abcd is not complete \(ckpts.slat_decoder_gs.safetensors"):
        open_folder(NAME)
    shutil.rmtree(snapshot)
    (snapshot.parents[1] / "blobs" / "aaaa.incomplete").write_bytes(b"")
    with pytest.raises(UserError, match="models--microsoft--TRELLIS-image-large is not complete"):
        open_folder(NAME)
    with pytest.raises(UserError, match="is not complete"):
        open_folder(snapshot.parents[1])
    with pytest.raises(MissingModel):
        open_folder("microsoft/TRELLIS-text-base")


def test_a_download_of_some_files_only_is_named(tiny: Path, hub: Path) -> None:
    snapshot = download(tiny, hub)
    (snapshot / "pipeline.json").unlink()
    for asked in (NAME, snapshot.parents[1]):
        with pytest.raises(MissingModel, match="holds no pipeline.json") as refused:
            open_folder(asked)
        assert str(snapshot) in str(refused.value)


@pytest.mark.parametrize("owner", ["microsoft", "JeffreyXiang"])
def test_decoders_of_another_repository_are_found_in_the_cache(
    tiny: Path, hub: Path, tmp_path: Path, owner: str
) -> None:
    image = download(tiny, hub)
    source = shutil.copytree(tiny, tmp_path / "text")
    shutil.rmtree(source / "ckpts")
    pipeline = (source / "pipeline.json").read_text()
    (source / "pipeline.json").write_text(
        pipeline.replace("ckpts/slat_dec", f"{owner}/TRELLIS-image-large/ckpts/slat_dec")
    )
    download(source, hub, "microsoft/TRELLIS-text-base")
    found = open_folder("microsoft/TRELLIS-text-base").models["slat_decoder_gs"]
    assert found == image / "ckpts" / "slat_decoder_gs"
    assert read_model(found).config.latent_channels == 4


def test_an_encoder_is_found_in_the_cache_and_named_while_it_arrives(hub: Path, tmp_path: Path) -> None:
    from backend.models.clip_text import load_text_encoder

    name = "openai/clip-vit-large-patch14"
    repository = hub / "models--openai--clip-vit-large-patch14"
    (repository / "blobs").mkdir(parents=True)
    with pytest.raises(MissingModel):
        load_text_encoder(tmp_path, name, (tmp_path / "models",))
    (repository / "blobs" / "77.incomplete").write_bytes(b"")
    with pytest.raises(UserError, match="clip-vit-large-patch14 .* is not complete"):
        load_text_encoder(tmp_path, name, (tmp_path / "models",))
    source = write_tiny_minilm(tmp_path / "source", 32)
    download(source, hub, PUBLISHED)
    encoder = load_sentence_encoder(tmp_path, PUBLISHED, (tmp_path / "models",))
    assert encoder.config.hidden_size == 32  # the installed package has 384


def test_a_folder_of_somebody_else_hides_only_what_is_in_it(
    tiny: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(tiny, hub)
    private = download(tiny, hub, "somebody/private").parents[1]
    for call in (os.stat, os.lstat, os.scandir):
        monkeypatch.setattr(os, call.__name__, refusing(call, private))
    assert NAME in available_models() and "somebody/private" not in available_models()
    monkeypatch.setenv("TRELLIS_MODELS", str(private / "models"))
    assert NAME in available_models()
    assert open_folder("starter-text").name == "starter-text"
    assert load_sentence_encoder(tmp_path, PUBLISHED, (private / "models",)).config.hidden_size == 384
    for asked in ("somebody/private", str(private), "absent"):
        with pytest.raises(MissingModel):
            open_folder(asked)


def refusing(call: Callable[..., object], folder: Path) -> Callable[..., object]:
    """The function of `os`, where nobody may look into a folder."""

    def refuse(path: object, *args: object, **named: object) -> object:
        inside = isinstance(path, str | os.PathLike) and folder in Path(path).parents
        if inside or (path == folder and call is os.scandir):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return call(path, *args, **named)

    return refuse
