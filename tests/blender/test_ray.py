"""batch.py --ray, with a real Ray cluster of two workers on this machine."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from blender_trellis.protocol.pictures import PNG
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BATCH = [sys.executable, str(ROOT / "scripts" / "batch.py")]
BIN = ROOT / ".venv" / "bin"
pytestmark = pytest.mark.skipif(
    not (BIN / "ray").exists(), reason="Ray has no wheel for this machine, or scripts/setup.py has not run"
)


@pytest.fixture
def cluster(monkeypatch):
    """The address of a cluster of two nodes with one processor each, which make the fake's balls."""
    home = Path(tempfile.mkdtemp(prefix="r"))  # Ray's sockets need a short path
    wrapper = home / "python"
    program = Path(__file__).parent / "ray_backend.py"
    wrapper.write_text(f'#!/bin/sh\nexec "{BIN / "python"}" "{program}" "$@"\n')
    wrapper.chmod(0o755)
    for name, value in {
        "TRELLIS_PYTHON": str(wrapper),
        "HOME": str(home),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",  # of workers; backends ignore it
    }.items():
        monkeypatch.setenv(name, value)
    port = 20000 + os.getpid() % 20000
    address = f"127.0.0.1:{port}"
    common = ("--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats")
    head = ("--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false")
    try:
        for words in ((*head, f"--temp-dir={home}/ray"), (f"--address={address}",)):
            done = subprocess.run(
                [BIN / "ray", "start", *words, *common], capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, done.stdout + done.stderr
        yield address
    finally:
        for process in ours(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


def ours(home: Path, title: bytes = b"ray") -> list[int]:
    """The processes of this cluster whose command line holds `title`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_ours = f"HOME={home}\0".encode() in (folder / "environ").read_bytes()
            if is_ours and title in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def test_a_worker_killed_in_mid_run_loses_nothing_and_doubles_nothing(cluster, tmp_path):
    folder, out, library = tmp_path / "pictures", tmp_path / "out", tmp_path / "library"
    folder.mkdir()
    for name in "abcdef":
        (folder / f"{name}.png").write_bytes(PNG + (b"steady" if name in "abc" else name.encode()))
    (folder / "broken.png").write_bytes(PNG + b"bad")
    (folder / "deadly.png").write_bytes(PNG + b"die")
    words = (
        "--input",
        folder,
        "--output",
        out,
        "--ray",
        cluster,
        "--ply",
        "--asset-library",
        library,
        "--json",
    )
    batch = subprocess.Popen(
        [*BATCH, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    home = Path(os.environ["HOME"])
    wait_until(lambda: len(ours(home, b"ray::FakeWorker.make")) == 2)  # two are at work at once
    os.kill(ours(home, b"ray::FakeWorker.make")[0], signal.SIGKILL)
    said = batch.communicate(timeout=300)
    assert batch.returncode == 1, said
    lines = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    assert sorted(one["name"] for one in lines) == sorted([*"abcdef", "broken", "deadly"])
    errors = {one["name"]: one["error"] for one in lines if one["status"] == "failed"}
    assert errors.keys() == {"broken", "deadly"}
    assert errors["broken"] == "broken.png is no picture." and "workers died" in errors["deadly"]
    for pattern, place in (("*.ply", out), ("*.blend", library)):
        assert sorted(path.stem for path in place.glob(pattern)) == [*"abcdef"]
    assert [json.loads(line)["name"] for line in said[0].splitlines()] == sorted(one["name"] for one in lines)


@pytest.mark.parametrize("address", ["nowhere:bad", "127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_without_a_cluster_is_a_sentence(fake_python, picture, tmp_path, monkeypatch, address):
    monkeypatch.setenv("TRELLIS_PYTHON", str(BIN / "python"))
    words = ("--input", picture(), "--output", tmp_path / "out", "--ray", address)
    done = subprocess.run([*BATCH, *map(str, words)], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f'No Ray cluster answers at "{address}"' in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()
