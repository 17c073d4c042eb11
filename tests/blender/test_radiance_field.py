"""A radiance field in Cycles looks as the engine's own ray marcher draws it."""

import json
import math
import struct
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from blender_trellis.faults import Fault
from blender_trellis.scene.volumes import vdb
from blender_trellis.volumes.field import read_field

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv" / "bin" / "python"
SIZE, FOV, ELEVATION = 40, math.radians(40), math.radians(25)
SIDE, RANK, SAMPLES = 8, 2, 4
MARCH = f"""
import sys, numpy as np, torch
from safetensors.torch import load_file
from backend.measures.field_render import render_field
from backend.geometry.views import fixed_view
from backend.representations.radiance_field import RadianceField
arrays = load_file(sys.argv[1])
field = RadianceField(depth=torch.full((len(arrays["position"]), 1), {int(math.log2(SIDE))}), **arrays)
view = fixed_view(0.0, {ELEVATION}, {FOV})
np.save(sys.argv[2], render_field(field, view, {SIZE}, 256))
print(view.distance)
"""


def _write_field(path: Path) -> None:
    """A ball of boxes, dense inside, whose colour runs from side to side, as a safetensors file."""
    cells = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = (cells + 0.5) / SIDE
    kept = np.linalg.norm(centres - 0.5, axis=1) < 0.42
    centres, count = centres[kept], int(kept.sum())
    random = np.random.default_rng(0)
    arrays = {
        "position": centres,
        "trivec": 1 + random.normal(size=(count, RANK, 3, SAMPLES)) * 0.15,
        "density": np.tile([14.0, 4.0], (count, 1)) - 20 * np.linalg.norm(centres - 0.5, axis=1)[:, None],
        "features_dc": np.repeat((centres * 12 - 5)[:, None, None], RANK, axis=1),
    }
    header, body = {}, b""
    for name, values in arrays.items():
        data = values.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": values.shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def _rendered(path: Path, distance: float) -> np.ndarray:
    """(SIZE, SIZE, 3) of Cycles, on black."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.angle = FOV
    camera.matrix_world = Matrix.Rotation(math.pi / 2 - ELEVATION, 4, "X") @ Matrix.Translation(
        (0, 0, distance)
    )
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 8, False
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    return np.array(image.pixels).reshape(SIZE, SIZE, 4)[::-1, :, :3]


def has_openvdb() -> bool:
    """The wheel of Blender 4.2 comes without."""
    try:
        vdb.openvdb()
    except Fault:
        return False
    return True


@pytest.mark.skipif(not has_openvdb(), reason="this Blender has no OpenVDB for Python")
@pytest.mark.skipif(not ENGINE.exists(), reason="needs the backend's environment: run scripts/setup.py")
def test_cycles_agrees_with_the_ray_marcher(addon, tmp_path):
    path = tmp_path / "ball.radiance_field.safetensors"
    _write_field(path)
    marched = subprocess.run(
        [ENGINE, "-c", MARCH, path, tmp_path / "a.npy"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    expected = np.load(tmp_path / "a.npy")
    assert bpy.ops.trellis.import_radiance_field(filepath=str(path)) == {"FINISHED"}
    volume = bpy.data.objects["ball"]
    assert volume.type == "VOLUME" and Path(volume.data.filepath) == tmp_path / "ball.vdb"
    found = _rendered(tmp_path / "a.png", float(marched.stdout))
    covered = expected.sum(axis=2) > 0.3
    assert (
        covered.mean() > 0.15 and np.ptp(expected[covered], axis=0).min() > 0.3
    )  # there is much to agree on
    assert -10 * math.log10(np.mean((found - expected) ** 2)) > 25


@pytest.mark.skipif(not has_openvdb(), reason="this Blender has no OpenVDB for Python")
def test_files_that_were_not_written_for_the_field_stay(addon, tmp_path):
    path, target = tmp_path / "fire.radiance_field.safetensors", tmp_path / "fire.vdb"
    _write_field(path)
    target.write_bytes(b"an artist's own")
    with pytest.raises(RuntimeError, match="was not made of this radiance field"):
        bpy.ops.trellis.import_radiance_field(filepath=str(path))
    assert target.read_bytes() == b"an artist's own"
    target.unlink()
    for _ in range(2):
        assert bpy.ops.trellis.import_radiance_field(filepath=str(path)) == {"FINISHED"}
    path.rename(tmp_path / "fire.safetensors")
    with pytest.raises(RuntimeError, match="was not made of this radiance field"):
        bpy.ops.trellis.import_radiance_field(filepath=str(tmp_path / "fire.safetensors"))


def test_density_and_colour_at_the_samples(tmp_path):
    path = tmp_path / "a.safetensors"
    _write_field(path)
    field = read_field(path)
    assert field.resolution == SIDE and field.samples == SAMPLES
    density, color = field.sampled(3)
    a, b, c = field.trivec[3, 0, 0, 1], field.trivec[3, 0, 1, 2], field.trivec[3, 0, 2, 3]
    d, e, f = field.trivec[3, 1, 0, 1], field.trivec[3, 1, 1, 2], field.trivec[3, 1, 2, 3]
    products = np.array([a * b * c, d * e * f])
    assert density[1, 2, 3] == pytest.approx(math.log1p(math.exp(products @ field.density[3])), rel=1e-5)
    encoded = products @ field.features[3, :, 1] * 0.28209479
    assert color[1, 2, 3, 1] == pytest.approx(1 / (1 + math.exp(-encoded)), rel=1e-5)


def test_what_cannot_be_shown_is_a_sentence(addon, tmp_path, monkeypatch):
    other = tmp_path / "other.safetensors"
    for data in (b"", b"\xff" * 64, struct.pack("<Q", 2) + b"{}"):
        other.write_bytes(data)
        with pytest.raises(Fault, match="holds no radiance field"):
            read_field(other)
    with pytest.raises(Fault, match="is no ordinary file"):
        read_field(tmp_path)
    _write_field(other)
    monkeypatch.setattr(vdb.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(RuntimeError, match="built without OpenVDB"):
        bpy.ops.trellis.import_radiance_field(filepath=str(other))
    assert not list(tmp_path.glob("*.vdb")) and not bpy.data.volumes
