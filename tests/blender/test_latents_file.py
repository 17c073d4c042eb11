"""The latents beside an asset's files: the backend's own format, read and written without its library."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blender_trellis.batch.latents_file import read_latents, write_latents
from blender_trellis.faults import Fault
from blender_trellis.scene.asset import StoredLatents

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / ".venv" / "bin" / "python"
AGAIN = """
import sys
from pathlib import Path
from backend.trellis.asset import read_latents, write_latents
write_latents(Path(sys.argv[2]), read_latents(Path(sys.argv[1])))
"""


def latents() -> StoredLatents:
    random = np.random.default_rng(3)
    occupied = np.zeros((8, 8, 8), bool)
    occupied[2:5, 1:7, 4] = True
    coords = np.argwhere(occupied[::2, ::2, ::2]).astype(np.int32)
    arrays = {
        "structure_latent": random.normal(size=(3, 2, 2, 2)).astype(np.float32),
        "occupied": np.packbits(occupied),
        "coords": coords,
        "feats": random.normal(size=(len(coords), 5)).astype(np.float32),
        "outline_alpha": random.integers(0, 255, (1, 16, 16)).astype(np.uint8),
        "outline_view": np.array([[17.5, 37.5, 1.25, 0.0, -0.0625]], np.float32),
        "within": np.packbits(np.arange(64) == 1),  # where no voxel is
    }
    return StoredLatents(arrays, 4, 8, "starter", "ab" * 32)


@pytest.mark.skipif(not REAL.exists(), reason="the backend's environment is not set up")
def test_the_backend_reads_what_is_written_and_the_other_way_round(tmp_path):
    ours, theirs = tmp_path / "ours.latents.safetensors", tmp_path / "theirs.latents.safetensors"
    write_latents(ours, latents())
    subprocess.run([REAL, "-c", AGAIN, ours, theirs], cwd=ROOT, check=True, timeout=300)
    for path in (ours, theirs):
        read = read_latents(path)
        assert (read.resolution, read.structure_resolution) == (4, 8)
        assert (read.model, read.model_hash) == ("starter", "ab" * 32)
        for name, values in latents().arrays.items():
            assert read.arrays[name].dtype == values.dtype and np.array_equal(read.arrays[name], values)


def test_what_is_no_such_file_is_a_sentence_that_names_it(tmp_path):
    path = tmp_path / "a.latents.safetensors"
    with pytest.raises(Fault, match=r"a\.latents\.safetensors.* cannot be read"):
        read_latents(path)
    write_latents(path, latents())
    whole = path.read_bytes()
    spoilt = [whole[:cut] for cut in (0, 5, 9, 60, len(whole) - 1)]
    spoilt += [whole.replace(b'"format": "1"', b'"format": "2"'), whole.replace(b"U8", b"I8")]
    view = latents().arrays["outline_view"].tobytes()
    spoilt += [whole.replace(view, b"\xff" * len(view)), b"\xff" * 100, b"\x04" + b"\0" * 7 + b"[[[["]
    arrays = latents().arrays | {"within": np.zeros(7, np.uint8)}
    write_latents(path, replace(latents(), arrays=arrays))
    spoilt.append(path.read_bytes())
    for data in spoilt:
        path.write_bytes(data)
        with pytest.raises(Fault, match="does not hold the latents of an asset"):
            read_latents(path)
