"""The add-on writes splats without torch: byte for byte as the backend writes them, but for rounding."""

import numpy as np
import torch

from backend.representations.gaussians import Gaussians, write_ply
from blender_trellis.splats.files import TO_FILE
from blender_trellis.splats.ply import write_ply as write_in_addon
from blender_trellis.splats.values import Splats


def test_both_writers_agree(tmp_path):
    torch.manual_seed(11)
    count = 200
    rotation = torch.nn.functional.normalize(torch.randn(count, 4), dim=1)
    splats = Gaussians(
        position=torch.rand(count, 3) - 0.5,
        color_dc=torch.randn(count, 3),
        opacity=torch.rand(count, 1) * 0.98 + 0.01,
        scale=torch.rand(count, 3) * 0.01 + 1e-3,
        rotation=rotation,
    )
    write_ply(tmp_path / "backend.ply", splats)
    values = {
        "position": splats.position.numpy(),
        "f_dc": splats.color_dc.numpy(),
        "opacity": torch.logit(splats.opacity).numpy(),
        "scale": torch.log(splats.scale).numpy(),
        "rotation": rotation.numpy(),
    }
    write_in_addon(tmp_path / "addon.ply", Splats.plain(values).moved(TO_FILE))
    ours, theirs = ((tmp_path / name).read_bytes() for name in ("addon.ply", "backend.ply"))
    (header, body), (their_header, their_body) = (data.split(b"end_header\n", 1) for data in (ours, theirs))
    assert header == their_header
    np.testing.assert_allclose(np.frombuffer(body, "<f4"), np.frombuffer(their_body, "<f4"), atol=1e-4)
