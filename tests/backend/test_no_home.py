"""An account without a home, as of a container or a service: what would lie in it is not looked for."""

import json
from pathlib import Path

import pytest

from backend.background.removers import find_remover
from backend.checkpoints.find_model import WEIGHTS, available_models, bundled_models, find_model
from backend.downloads.command import main
from backend.errors import MissingModel
from blender_trellis.catalogue.hub_caches import hub_caches
from tests.homeless import forget_home


@pytest.fixture(autouse=True)
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TRELLIS_MODELS", "TRELLIS_U2NET", "U2NET_HOME", "REMBG_HOME", "HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    forget_home(monkeypatch)


def test_models_are_found_where_a_folder_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_model("starter") == WEIGHTS / "starter"
    assert available_models() == bundled_models()
    assert find_remover() is None
    assert hub_caches() == ()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert hub_caches() == (tmp_path / "hf" / "hub",)
    for name in ("owner/none", "~/none", "~nobody-of-this-name/none"):
        with pytest.raises(MissingModel, match=f"There is no model {name}: give the folder"):
            find_model(name)


@pytest.mark.parametrize("words", [("download", "u2net"), ("import", "~/models")])
def test_a_download_asks_where_to(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple) -> None:
    assert main([*words, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert "home folder that is not known" in told["error"] and "--models" in told["error"]
    assert list(tmp_path.iterdir()) == []
    assert main(["list", "--json"]) == 0
