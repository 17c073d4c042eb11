"""A repository that one hosts oneself: a Blender with an empty profile installs the extension from it."""

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a repository that is hosted on this machine."""
    folder = tmp_path_factory.mktemp("repository")
    command = [sys.executable, str(ROOT / "scripts" / "build_extension.py"), "--repository", "--output"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} >= {"index.json", "index.html"}
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.json"
    server.shutdown()


def test_blender_installs_from_a_repository_that_one_hosts(blender, address, tmp_path):
    user = {"BLENDER_USER_RESOURCES": tmp_path / "user", "HOME": tmp_path, "XDG_RUNTIME_DIR": tmp_path}
    command = ("--online-mode", "--command", "extension")
    for words in (
        ("repo-add", "--clear-all", "--url", address, "own"),
        ("sync",),
        ("install", "-e", "trellis"),
    ):
        done = blender.run(*command, *words, **user)
        assert done.returncode == 0 and "ERROR" not in done.stdout + done.stderr, done.stdout + done.stderr
    asked = "import bpy; print('enabled:', 'bl_ext.own.trellis' in bpy.context.preferences.addons, "
    asked += "hasattr(bpy.types, 'TRELLIS_OT_generate'))"
    assert "enabled: True True" in blender.run("--background", "--python-expr", asked, **user).stdout
    update = blender.run(*command, "update", **user)  # which finds nothing newer, and breaks nothing
    assert update.returncode == 0, update.stdout + update.stderr
