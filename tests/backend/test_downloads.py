"""Models from a hub on the loopback: whole, interrupted, damaged, too large, offline."""

import contextlib
import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import httpx2
import pytest

from backend.checkpoints.find_model import available_models
from backend.downloads.command import main
from backend.downloads.faults import explained
from backend.downloads.verify import verify
from backend.errors import UserError
from blender_trellis.catalogue.entries import entries, find_entry, read_entries
from blender_trellis.catalogue.installed import ARRIVING, RECORD, lacking, presence
from tests.hub_server import COMMIT, Hub
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
WEIGHTS = bytes(range(256)) * 4000
PIPELINE = b'{"name": "test", "args": {"models": {}}}'
ENCODER = {"config.json": b"{}", "model.safetensors": WEIGHTS[::-1]}
MODEL = {"pipeline.json": PIPELINE, "ckpts/flow.json": b"{}", "ckpts/flow.safetensors": WEIGHTS}
FLOW = "ckpts/flow.safetensors"
CHUNK = 10 << 20  # huggingface_hub writes bodies in pieces of this size
LARGE = WEIGHTS * 25
REMOVER = WEIGHTS[:5000]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files(repository: dict[str, bytes], known: bool) -> list[dict]:
    """As the catalogue has them; of hashes all or none are known."""
    return [
        {"path": path, "size_bytes": len(data)} | ({"sha256": sha256(data)} if known else {})
        for path, data in repository.items()
    ]


@pytest.fixture
def hub():
    with Hub({"owner/model": dict(MODEL), "owner/encoder": dict(ENCODER), "u": {"cut.onnx": REMOVER}}) as hub:
        yield hub


@pytest.fixture
def catalogue(tmp_path, hub, monkeypatch) -> Path:
    common = {"origin": "published", "label": "A model", "licence": "MIT", "about": "", "revision": COMMIT}
    rows = [
        {"name": "model", "kind": "model", "place": "model", "repository": "owner/model"}
        | {"needs": ["encoder"], "files": files(MODEL, known=False)},
        {"name": "encoder", "kind": "part", "place": "encoder", "repository": "owner/encoder"}
        | {"files": files(ENCODER, known=True)},
        {
            "name": "remover",
            "kind": "remover",
            "place": "cut.onnx",
            "url": f"{hub.address}/bodies/u//cut.onnx",
        }
        | {"files": files({"cut.onnx": REMOVER}, known=True)},
    ]
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps([common | row for row in rows]))
    monkeypatch.setenv("TRELLIS_CATALOGUE", str(path))
    return path


def command(catalogue: Path, hub: Hub | str, *words: str) -> list[str]:
    address = hub if isinstance(hub, str) else hub.address
    options = ["--json", "--models", str(catalogue.parent / "models")]
    endpoint = ["--endpoint", address] if words[0] == "download" else []
    return [sys.executable, "-m", "backend", "models", *words, *options, *endpoint]


def run(catalogue: Path, hub: Hub | str, *words: str) -> tuple[int, list[dict]]:
    """The exit code and the lines of the command, in this process."""
    with mock.patch.dict(os.environ), contextlib.redirect_stdout(io.StringIO()) as told:
        code = main(command(catalogue, hub, *words)[4:])
    return code, [json.loads(line) for line in told.getvalue().splitlines()]


def run_process(catalogue: Path, hub: Hub | str, *words: str, **variables: str) -> tuple[int, list[dict]]:
    """The same of the real process."""
    told = subprocess.run(
        command(catalogue, hub, *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=PATIENCE,
    )
    assert "Traceback" not in told.stderr, told.stderr
    return told.returncode, [json.loads(line) for line in told.stdout.splitlines()]


def content(folder: Path, besides: tuple[str, ...] = (RECORD, "SHA256SUMS")) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in besides)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_model_comes_with_what_it_needs(catalogue, hub):
    code, lines = run_process(catalogue, hub, "download", "model")
    models = catalogue.parent / "models"
    assert code == 0 and lines[-1] == {"said": "A model is here."}
    assert content(models / "model") == MODEL and content(models / "encoder") == ENCODER
    done = [line["done"] for line in lines[:-1]]
    total = sum(map(len, [*MODEL.values(), *ENCODER.values()]))
    assert done == sorted(done) and done[-1] == total and {line["total"] for line in lines[:-1]} == {total}
    assert lines[0]["name"] == "encoder" and lines[-2]["name"] == "model"
    record = json.loads((models / "model" / RECORD).read_text())
    assert record["revision"] == COMMIT
    assert record["files"]["ckpts/flow.safetensors"] == {
        "size_bytes": len(WEIGHTS),
        "sha256": sha256(WEIGHTS),
    }
    assert f"{sha256(PIPELINE)}  pipeline.json\n" in (models / "model" / "SHA256SUMS").read_text()
    assert not list((models / ARRIVING).iterdir())
    hub.asked.clear()
    assert run(catalogue, hub, "download", "model") == (0, [{"said": "A model was here already."}])
    assert not hub.asked


def test_a_download_that_was_killed_goes_on_where_it_stopped(catalogue, hub, monkeypatch):
    hub.repositories["owner/model"][FLOW] = LARGE
    models = catalogue.parent / "models"
    assert run(catalogue, hub, "download", "encoder")[0] == 0
    hub.gate = threading.Event()
    hub.gated = FLOW
    process = subprocess.Popen(command(catalogue, hub, "download", "model"), cwd=ROOT, stdout=subprocess.PIPE)
    part = models / ARRIVING / "model" / FLOW
    wait_until(lambda: process.poll() is not None or (part.exists() and part.stat().st_size == CHUNK))
    process.kill()
    process.communicate()
    assert part.stat().st_size == CHUNK and not (models / "model").exists()
    assert presence(read_entries(catalogue)[0], models).where == "arriving"
    monkeypatch.setenv("TRELLIS_MODELS", str(models))
    assert not [name for name in available_models() if name.endswith("/model")]
    hub.gate.set()
    hub.gated = ""
    hub.asked.clear()
    assert run(catalogue, hub, "download", "model")[0] == 0
    assert hub.asked == [(FLOW, f"bytes={CHUNK}-")]
    assert content(models / "model") == MODEL | {FLOW: LARGE}


def test_a_broken_connection_is_taken_up_again(catalogue, hub):
    hub.repositories["owner/model"][FLOW] = LARGE
    hub.cut = {FLOW: CHUNK + 1000}
    assert run(catalogue, hub, "download", "model")[0] == 0
    assert hub.ranges(FLOW) == ["", f"bytes={CHUNK}-"]
    assert (catalogue.parent / "models" / "model" / FLOW).read_bytes() == LARGE


@pytest.mark.parametrize("name, path", [("encoder", "model.safetensors"), ("model", "pipeline.json")])
def test_a_file_that_is_another_one_is_not_taken(catalogue, hub, name, path):
    """By the catalogue's sha256, and by git's hash of a small file that the catalogue does not know."""
    right = (hub.repositories["owner/model"] | hub.repositories["owner/encoder"])[path]
    hub.swapped = {path: right[:-1] + b"?"}
    code, lines = run(catalogue, hub, "download", name)
    models = catalogue.parent / "models"
    assert code == 2 and path in lines[-1]["error"] and "wrong hash" in lines[-1]["error"]
    assert not (models / name).exists() and not (models / ARRIVING / name / path).exists()
    hub.swapped = {}
    assert run(catalogue, hub, "download", name)[0] == 0
    assert (models / name / path).read_bytes() == right


def test_an_endless_answer_is_cut_off(catalogue, hub):
    hub.swapped = {"cut.onnx": REMOVER * 1000}
    code, lines = run(catalogue, hub, "download", "remover")
    assert code == 2 and "More arrives for cut.onnx than it should hold" in lines[-1]["error"]
    assert not (catalogue.parent / "models" / "cut.onnx").exists()


def test_a_folder_that_cannot_be_made(catalogue, hub):
    (catalogue.parent / "models").write_bytes(b"")
    code, lines = run(catalogue, hub, "download", "remover")
    assert code == 2 and "cannot be written (Not a directory)" in lines[-1]["error"]


def test_a_mirror_that_offers_another_file_is_refused_before_any_comes(catalogue, hub):
    hub.repositories["owner/encoder"]["model.safetensors"] = b"x" * len(WEIGHTS)
    code, lines = run(catalogue, hub, "download", "encoder")
    assert code == 2 and "another model.safetensors" in lines[-1]["error"] and not hub.asked


def test_want_of_room_is_told_before_any_file_comes(catalogue, hub):
    hub.claimed = {"ckpts/flow.safetensors": 10**16}
    assert run(catalogue, hub, "download", "encoder")[0] == 0
    hub.asked.clear()
    code, lines = run(catalogue, hub, "download", "model")
    assert code == 2 and not hub.asked
    assert lines[-1]["error"].startswith("model needs 10000000.3 GB more on the disk of ")


@pytest.mark.parametrize(
    "address, variables, words",
    [
        ("http://127.0.0.1:9", {}, "http://127.0.0.1:9 cannot be reached, so encoder was not downloaded"),
        ("http://127.0.0.1:9", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ("no address", {}, "is no address"),
    ],
)
def test_without_a_network_it_says_so(catalogue, address, variables, words):
    started = run_process if variables else run  # it is read when huggingface_hub is imported
    code, lines = started(catalogue, address, "download", "encoder", **variables)
    assert code == 2 and words in lines[-1]["error"]


def test_what_a_server_answers_is_said(catalogue, hub):
    hub.status = 503
    code, lines = run(catalogue, hub, "download", "encoder")
    assert code == 2 and "answered 503 for encoder" in lines[-1]["error"]
    hub.status = 200
    del hub.repositories["owner/encoder"]
    code, lines = run(catalogue, hub, "download", "encoder")
    assert code == 2 and "does not have encoder at its pinned version" in lines[-1]["error"]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "ftp://127.0.0.1:9"])
def test_a_proxy_that_the_client_does_not_know_is_a_sentence(proxy, tmp_path):
    with pytest.raises(UserError, match="set HTTPS_PROXY to an http:// address"):
        with explained("model", "hub", tmp_path):
            httpx2.Client(proxy=proxy)
    with pytest.raises(ValueError, match="of our own"):
        with explained("model", "hub", tmp_path):
            raise ValueError("a fault of our own")


def test_a_cache_counts_where_one_snapshot_holds_all_files(catalogue, tmp_path):
    among, models = read_entries(catalogue), tmp_path / "models"
    encoder = find_entry("encoder", among)
    snapshots = tmp_path / "hub" / "models--owner--encoder" / "snapshots"
    snapshots.mkdir(parents=True)
    assert encoder is not None
    for names in ((), ("config.json",)):
        for name in names:
            (snapshots / "one").mkdir()
            (snapshots / "one" / name).write_bytes(ENCODER[name])
        assert presence(encoder, models, [tmp_path / "hub"]).where == "absent"
        assert encoder in lacking(encoder, among, models, [tmp_path / "hub"])
    (snapshots / "other").mkdir()
    for name, data in ENCODER.items():
        (snapshots / "other" / name).write_bytes(data)
    assert presence(encoder, models, [tmp_path / "hub"]).where == "cache"
    with mock.patch("backend.downloads.verify.hub_caches", lambda: (tmp_path / "hub",)):
        assert "is whole" in verify("encoder", among, models)


def test_an_incomplete_model_is_completed(catalogue, hub):
    """As after a copy by hand that lacks a file and has another one damaged."""
    models = catalogue.parent / "models"
    (models / "model" / "ckpts").mkdir(parents=True)
    (models / "model" / "ckpts" / "flow.safetensors").write_bytes(WEIGHTS)
    (models / "model" / "pipeline.json").write_bytes(b"damaged")
    assert presence(read_entries(catalogue)[0], models).missing == ("ckpts/flow.json",)
    assert run(catalogue, hub, "download", "model")[0] == 0
    assert content(models / "model") == MODEL
    assert not hub.ranges("ckpts/flow.safetensors") and hub.ranges("pipeline.json") == [""]


@pytest.mark.parametrize("links", [True, False])
def test_what_is_damaged_comes_again_once_it_is_removed(catalogue, hub, monkeypatch, links):
    place = catalogue.parent / "models" / "model"
    assert run(catalogue, hub, "download", "model")[0] == 0
    (place / FLOW).write_bytes(WEIGHTS[:-1] + b"?")
    code, lines = run(catalogue, hub, "verify", "model")
    assert (
        code == 2 and f"{place / FLOW} is damaged" in lines[-1]["error"] and "remove it" in lines[-1]["error"]
    )
    (place / FLOW).unlink()
    hub.asked.clear()
    if not links:
        monkeypatch.setattr(os, "link", mock.Mock(side_effect=OSError(errno.EXDEV, "Cross-device link")))
    assert run(catalogue, hub, "download", "model")[0] == 0
    assert content(place) == MODEL and hub.asked == [(FLOW, "")]


def test_a_remover_is_one_file(catalogue, hub):
    models = catalogue.parent / "models"
    assert run(catalogue, hub, "download", "remover")[0] == 0
    assert (models / "cut.onnx").read_bytes() == REMOVER
    code, lines = run(catalogue, hub, "list")
    assert [row["where"] for row in lines[0]["models"]] == ["absent", "absent", "folder"]
    assert run(catalogue, hub, "delete", "remover") == (0, [{"said": "A model was deleted."}])
    assert not (models / "cut.onnx").exists()
    assert run(catalogue, hub, "delete", "remover")[0] == 2


def test_the_list_for_people_tells_sizes_and_licences_apart(capsys):
    assert main(["list"]) == 0
    (starter,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("starter "))
    entry = find_entry("starter", entries())
    assert starter.split()[1:3] == [f"{entry.size_bytes / 1e6:.0f}", "MB"]
    assert f"{entry.licence}  " in starter and "  bundled " in starter


def test_the_catalogue_is_sound():
    """Revisions are commits, hashes are sha256, needs are in it, and files are those that are published."""
    known = entries()
    for entry in known:
        assert all(find_entry(name, known) for name in entry.needs)
        if entry.origin == "bundled":
            assert (ROOT / "backend" / "weights" / entry.name / "pipeline.json").is_file()
            continue
        assert entry.url or (len(entry.revision) == 40 and int(entry.revision, 16))
        assert entry.size_bytes > 1_000_000 and entry.place and entry.licence
        assert all(not one.sha256 or (len(one.sha256) == 64 and int(one.sha256, 16)) for one in entry.files)
    for path in (ROOT / "backend" / "checkpoints" / "published").glob("*.json"):
        roles = json.loads(path.read_text())["pipeline"]["args"]["models"].values()
        entry = find_entry(path.stem, known)
        held = {one.path for name in (*entry.needs, entry.name) for one in find_entry(name, known).files}
        assert {f"ckpts/{Path(role).name}.safetensors" for role in roles} <= held


def test_decoders_that_lie_with_another_model_serve(tmp_path):
    known = entries()
    text = find_entry("TRELLIS-text-base", known)
    names = [one.name for one in lacking(text, known, tmp_path)]
    assert names == ["clip-vit-large-patch14", "TRELLIS-decoders", "TRELLIS-text-base"]
    larger = find_entry("TRELLIS-image-large", known)
    for file in larger.files:
        (tmp_path / larger.place / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / larger.place / file.path).touch()
    assert "TRELLIS-decoders" not in [one.name for one in lacking(text, known, tmp_path)]
    cache = tmp_path / "hub" / "models--openai--clip-vit-large-patch14" / "snapshots"
    for file in find_entry("clip-vit-large-patch14", known).files:
        (cache / "one" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (cache / "one" / file.path).touch()
    assert [one.name for one in lacking(text, known, tmp_path, [tmp_path / "hub"])] == ["TRELLIS-text-base"]
