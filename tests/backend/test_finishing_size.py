"""A mesh of two million faces that leaks is finished, in a process of its own whose memory is looked at."""

import json
import subprocess
import sys

FINISH = """
import json
import numpy as np, torch
from backend.finishing.chain import finish_mesh
from backend.finishing.settings import FinishSettings
from backend.machine.memory import peak_memory_bytes
from backend.representations.mesh import Mesh

n = 1000
u, v = np.meshgrid(*[np.arange(n) * 2 * np.pi / n] * 2, indexing="ij")
ring = 0.33 + 0.13 * np.cos(v)
places = np.stack([ring * np.cos(u), ring * np.sin(u), 0.13 * np.sin(v)], -1).reshape(-1, 3)
a = np.arange(n * n).reshape(n, n)
b, d = np.roll(a, -1, 0), np.roll(a, -1, 1)
c = np.roll(b, -1, 1)
faces = np.concatenate([np.stack(three, -1).reshape(-1, 3) for three in ((a, b, c), (a, c, d))])
faces = faces[np.arange(len(faces)) % 200 > 0]
raw = Mesh(torch.from_numpy(places).float(), torch.from_numpy(faces).long(), torch.rand(len(places), 3))
done, report = finish_mesh(raw, FinishSettings(resolution=64, faces=20_000))
after = report.after
facts = {"raw": len(faces), "faces": after.faces, "watertight": after.watertight, "genus": after.genus}
print(json.dumps(facts | {"parts": after.components, "peak": peak_memory_bytes()}))
"""


def test_two_million_faces_are_finished_within_three_gigabytes():
    done = subprocess.run([sys.executable, "-c", FINISH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["raw"] > 1_980_000 and found["faces"] <= 20_000 and found["watertight"]
    assert found["parts"] == 1 and found["genus"] == 1
    assert found["peak"] < 3e9
