"""`scripts/demo.py` for real: the real backend, the bundled checkpoint, every file."""

import json
import subprocess
import sys
from pathlib import Path

import bpy
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    not any((ROOT / ".venv" / part).exists() for part in ("bin/python", "Scripts/python.exe")),
    reason="the backend's environment is not set up",
)
def test_a_picture_becomes_every_file(tmp_path, capfd):
    output = tmp_path / "out"
    command = [sys.executable, ROOT / "scripts" / "demo.py", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr  # progress was shown
    names = {path.name for path in output.iterdir()}
    assert names == {
        "mushroom.blend",
        "mushroom.glb",
        "mushroom.ply",
        "preview.png",
        "report.json",
        "report.jsonl",
    }
    assert json.loads((output / "report.json").read_text())["made"] == 1
    assert (output / "preview.png").read_bytes().startswith(b"\x89PNG")
    bpy.ops.wm.open_mainfile(filepath=str(output / "mushroom.blend"))
    collection = bpy.data.collections["mushroom"]
    meshes = [item.data for item in collection.objects if item.type == "MESH"]
    assert {"f_dc_0" in mesh.attributes for mesh in meshes} == {True, False}
    assert len(collection["trellis_model_hash"]) == len(collection["trellis_picture_hash"]) == 64
