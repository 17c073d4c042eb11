"""A backend without torch: speaks the protocol and makes a coloured ball in no time.

    python fake_backend.py [serve]

What the pictures' bytes hold decides what happens: b"bad" fails, b"large" fails for want of memory, b"die"
ends the process in the middle of the job, b"bug" is a fault of its own, after which it makes nothing more,
b"garbage" sends indices out of range, b"slow" is in its first step until it is cancelled, b"steady" takes two
seconds, b"deaf" says nothing, b"grow" takes 4 GB of memory, b"yellow" makes all of the ball yellow; all else
is a ball.
"""

import hashlib
import json
import os
import sys
import threading
import time
from math import cos, pi, sin
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from blender_trellis import protocol as p
from blender_trellis.protocol.pictures import PNG

STEPS = 4
YELLOW = (240, 200, 30)
FRAME = {"scale": 1.25, "offset_x": 0.0, "offset_y": 0.0, "offset_z": 0.0}
"""Of an encoded mesh: so that the ball, 0.8 wide, is as long as what was sent."""
STARTER = p.ModelInfo(
    "starter",
    ("pictures",),
    gives=("mesh", "gaussian"),
    stages=(
        p.StageInfo("sparse_structure", 2, 0.0, 1.0, 0.03),
        p.StageInfo("structured_latent", 3, 1.5, 1.0, 0.03),
    ),
    without_effect={
        "seed": "Another seed changes next to nothing.",
        "rescale_t": "How the steps are spaced changes next to nothing.",
    },
)


def ball(rows: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A closed sphere of radius 0.4: vertices (V, 3), faces (F, 3), colors (V, 3) sRGB."""
    columns = 2 * rows
    vertices = [(0.0, 0.0, 0.4)]
    for row in range(1, rows):
        polar = pi * row / rows
        for column in range(columns):
            turn = 2 * pi * column / columns
            vertices.append((0.4 * sin(polar) * cos(turn), 0.4 * sin(polar) * sin(turn), 0.4 * cos(polar)))
    vertices.append((0.0, 0.0, -0.4))
    last, faces = len(vertices) - 1, []
    for column in range(columns):
        after = (column + 1) % columns
        faces.append((0, 1 + column, 1 + after))
        bottom = last - columns
        faces.append((last, bottom + after, bottom + column))
        for row in range(rows - 2):
            a, b = 1 + row * columns + column, 1 + row * columns + after
            faces += [(a, a + columns, b), (b, a + columns, b + columns)]
    places = np.array(vertices, np.float32)
    return places, np.array(faces, np.int32), (places / 0.8 + 0.5).astype(np.float32)


def arrays(**named: np.ndarray) -> dict[str, p.Array]:
    kinds = {"float32": "f4", "int32": "i4", "uint8": "u1"}
    return {
        name: p.Array(kinds[values.dtype.name], values.shape, values.tobytes())
        for name, values in named.items()
    }


def voxels(vertices: np.ndarray) -> tuple[dict[str, int], dict[str, p.Array]]:
    """Information and arrays of the voxels that the surface goes through."""
    cells = np.unique(((vertices + 0.5) * 64).astype(np.int32), axis=0)
    occupied = np.zeros((64, 64, 64), bool)
    occupied[tuple(cells.T)] = True
    return {"resolution": 64, "structure_resolution": 64}, arrays(
        coords=cells, occupied=np.packbits(occupied)
    )


class FakeBackend:
    """Answers one request at a time."""

    def __init__(self):
        self._out = sys.stdout.buffer
        self._lock = threading.Lock()
        self._cancelled: set[str] = set()
        self._broken = False

    def send(self, message: p.FromBackend) -> None:
        with self._lock:
            for piece in p.encode(message):
                self._out.write(piece)
            self._out.flush()

    def serve(self) -> None:
        device = p.Device("cpu", "Processor", 8 << 30)
        self.send(p.Hello(p.PROTOCOL_VERSION, "0.1.0", "3.11", "fake", (device,), (STARTER,)))
        reader = p.Reader(sys.stdin.buffer)
        while (message := reader.read()) is not None and not isinstance(message, p.Shutdown):
            if isinstance(message, p.Cancel):
                self._cancelled.add(message.job)
            elif isinstance(message, p.CutOut):
                self.cut_out(message)
            elif isinstance(message, p.Making):
                threading.Thread(target=self.generate, args=(message,)).start()

    def cut_out(self, request: p.CutOut) -> None:
        """A blue square, green where the background is left as it is."""
        data = bytes(request.pictures[0].data).removeprefix(PNG)
        if data == b"bad":
            return self.send(p.Failed(request.job, "bad_input", f"{request.picture_name} is no picture."))
        if data == b"die":
            os._exit(3)
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[..., 1 if request.background == "keep" else 2] = 255
        self.send(p.Result(request.job, "cut_out", {}, arrays(pixels=pixels)))
        return self.send(p.Finished(request.job, 0.1, 0, ""))

    def generate(self, request: p.Making) -> None:
        pictures = () if isinstance(request, p.Encode) else request.pictures
        data = bytes(pictures[0].data).removeprefix(PNG) if pictures else b""
        if data == b"bad":
            return self.send(p.Failed(request.job, "bad_input", f"{request.picture_names[0]} is no picture."))
        if data == b"large":
            sentence = "starter needs about 9.0 GB of memory on cuda:0 for shaping, and 3.0 GB are free."
            return self.send(p.Failed(request.job, "out_of_memory", sentence, "half_precision"))
        self._broken |= data == b"bug"
        if self._broken:
            return self.send(p.Failed(request.job, "internal", "The backend met a fault of its own."))
        if data == b"deaf":
            time.sleep(1000)
        steps = STEPS if not isinstance(request, p.Sampled) else request.sparse_structure.steps or STEPS
        steps = 40 if data == b"steady" else steps
        for stage in ("load", "condition"):
            self.send(p.Progress(request.job, stage, 1, 1, 0.0))
        for step in range(1, steps + 1):
            if request.job in self._cancelled:
                return self.send(p.Cancelled(request.job, 0.1))
            self.send(p.Progress(request.job, "sparse_structure", step, steps, 0.1 * step))
            if isinstance(request, p.Sampled) and request.preview:
                self.send(p.Result(request.job, "preview", *voxels(ball()[0])))
            time.sleep(0.05 if data == b"steady" else 0.01)
            while data == b"slow" and request.job not in self._cancelled:
                time.sleep(0.01)
        if data == b"die":
            sys.stderr.write("torch ate all the memory\n")
            sys.stderr.flush()
            os._exit(3)
        for stage in ("decode_sparse_structure", "structured_latent", "decode_gaussian", "decode_mesh"):
            self.send(p.Progress(request.job, stage, 1, 1, 0.1 * steps))
        self.send(p.Progress(request.job, "extract_mesh", 1, 1, 0.1 * steps))
        self.send_results(request, broken=data == b"garbage")
        self.send(p.Heartbeat(1.0, (4 if data == b"grow" else 1) << 30, request.job))
        digest = hashlib.sha256(data).hexdigest()
        seed = request.seed if isinstance(request, p.Sampled) else 0
        return self.send(p.Finished(request.job, 0.5, seed, request.model, "0" * 64, digest))

    def send_results(self, request: p.Making, broken: bool) -> None:
        sent = {} if isinstance(request, p.Generate) else request.arrays
        if isinstance(request, p.Vary) and request.onto == "mesh":  # a gradient along x of what was sent
            shown = np.frombuffer(sent["vertices"].data, "<f4").reshape(-1, 3)[:, :1] + 0.5
            colors = np.clip(np.repeat(shown, 3, axis=1), 0, 1).astype(np.float32)
            image = {}
            if request.finishing.texture and "uv" in sent:  # red grows with u, green with v
                steps = (np.arange(request.finishing.texture) + 0.5) / request.finishing.texture
                u, v = np.meshgrid(steps, steps[::-1])
                image["texture"] = np.rint(255 * np.stack([u, v, 0 * u], axis=-1)).astype(np.uint8)
            return self.send(p.Result(request.job, "vertex_colors", {}, arrays(colors=colors, **image)))
        vertices, faces, colors = ball()
        pictures = () if isinstance(request, p.Encode) else request.pictures
        if any(bytes(one.data).removeprefix(PNG) == b"yellow" for one in pictures):
            colors = np.tile(np.float32(YELLOW) / 255, (len(vertices), 1))
        if isinstance(request, p.Finish):
            return self.send_finished(request, vertices, faces, colors)
        self.send_latents(request.job, vertices, FRAME if "vertices" in sent else {})
        if isinstance(request, p.Generate) and request.structure_only:
            return None
        count = len(vertices)
        names = {"keys": np.arange(count, dtype=np.int32)}
        if isinstance(request, p.Edit):  # whatever the region is, the upper half is new
            names["kept"] = (vertices[:, 2] < 0).astype(np.uint8)
        if "gaussian" in request.formats:
            splats = arrays(
                position=vertices,
                f_dc=((colors - 0.5) / 0.28209479177387814).astype(np.float32),
                opacity=np.full((count, 1), 3.0, np.float32),
                scale=np.full((count, 3), np.log(0.012), np.float32),
                rotation=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
                **names,
            )
            self.send(p.Result(request.job, "gaussian", {}, splats))
        if "mesh" in request.formats:
            faces = faces + (count if broken else 0)
            surface = arrays(vertices=vertices, faces=faces.astype(np.int32), colors=colors, **names)
            self.send(p.Result(request.job, "mesh", {}, surface))
            self.send_finished(request, vertices, faces.astype(np.int32), colors)

    def send_finished(
        self, request: p.Making, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray
    ) -> None:
        """The upper half of the ball, and a texture of one colour: of a yellow ball yellow and matte."""
        is_yellow = len(np.unique(colors, axis=0)) == 1
        color, roughness = (YELLOW, 1.0) if is_yellow else ((200, 40, 90), 0.5)
        finishing = request.finishing
        if finishing.preset == "raw" and not finishing.texture:
            return
        for stage in ("finish_mesh", "bake_texture"):
            self.send(p.Progress(request.job, stage, 1, 1, 1.0))
        kept = faces[(vertices[faces][:, :, 2] > 0).all(axis=1)]
        finished = arrays(vertices=vertices, faces=kept, colors=colors)
        if finishing.texture:
            image = np.full((finishing.texture, finishing.texture, 3), color, np.uint8)
            finished |= arrays(uv=np.full((len(kept), 3, 2), 0.5, np.float32), texture=image)
        self.send(p.Result(request.job, "finished_mesh", {"roughness": roughness, "metallic": 0.0}, finished))
        return None

    def send_latents(self, job: str, vertices: np.ndarray, frame: dict[str, float]) -> None:
        """What the ball was decoded from, of one size with a real one's but for the channels."""
        latent = arrays(latent=np.zeros((8, 16, 16, 16), np.float32))
        self.send(p.Result(job, "structure_latent", {}, latent))
        info, cells = voxels(vertices)
        self.send(p.Result(job, "voxels", info | frame, cells))
        feats = np.random.default_rng(0).normal(size=(cells["coords"].shape[0], 8)).astype(np.float32)
        latents = {"coords": cells["coords"], **arrays(feats=feats)}
        self.send(p.Result(job, "structured_latent", {"resolution": 64}, latents))


if __name__ == "__main__":
    if "selftest" in sys.argv:
        time.sleep(1000 if "slow" in sys.argv else 0)
        sys.stdout.write(json.dumps({"checks": [{"golden": "flow", "component": "run", "passed": True}]}))
    else:
        FakeBackend().serve()
