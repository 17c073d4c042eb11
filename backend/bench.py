"""`python -m backend bench`: wall time of every stage, forward passes, peak memory, share of the matrix peak.

The share says how much of the speed of plain matrix products a stage reaches: what is left to win.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from backend.checkpoints.published_models import random_models
from backend.checkpoints.weights import open_folder
from backend.device import choose_device, choose_dtype
from backend.errors import UserError
from backend.image.background import remove_background
from backend.image.decode import cut_out, open_picture
from backend.layers.engines import ENGINES, Engine, choose_engine
from backend.matrix_peak import matrix_peak, operation_counter
from backend.memory import peak_memory_bytes
from backend.models.dinov2 import DinoV2, DinoV2Config
from backend.representations.gaussians import write_ply
from backend.representations.glb import write_glb
from backend.trellis.conditioning import Condition, PictureConditioner
from backend.trellis.pipeline import Pipeline

TEXT_TOKENS = (1, 77, 768)
PROMPT = "a wooden chair"


@dataclass(frozen=True)
class Timing:
    """One stage: wall time, passes through its network, matrix operations, the card's high-water mark."""

    stage: str
    seconds: float
    forward_passes: int = 0
    operations: int = 0
    device_memory_bytes: int = 0
    detail: str = ""


class Clock:
    """Times stages one after the other; waits for the device before it reads the time.

    Counting the operations adds some microseconds to each of torch's calls.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.timings: list[Timing] = []

    def time(self, stage: str, work: Callable[[], Any], counted: Sequence[torch.nn.Module] = ()) -> Any:
        """Run `work` and note its time and the passes through the `counted` networks."""
        passes: list[int] = []
        on_card = self._device.type == "cuda"
        if on_card:
            torch.cuda.reset_peak_memory_stats(self._device)
        with ExitStack() as hooks:
            for network in counted:
                handle = network.register_forward_pre_hook(lambda *_: passes.append(1))
                hooks.callback(handle.remove)
            operations = hooks.enter_context(operation_counter())
            began = time.perf_counter()
            result = work()
            if on_card:
                torch.cuda.synchronize(self._device)
            elapsed = time.perf_counter() - began
        memory = torch.cuda.max_memory_allocated(self._device) if on_card else 0
        timing = Timing(stage, round(elapsed, 4), len(passes), operations.get_total_flops(), memory)
        self.timings.append(timing)
        return result


def main(argv: Sequence[str]) -> int:
    """0, or 2 where the model or device cannot be had."""
    options = _parser().parse_args(argv)
    try:
        report = _bench(options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(report) + "\n" if options.json else _table(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(prog="python -m backend bench", description=__doc__)
    wanted.add_argument(
        "--model", default="starter", help="a model, or with --random-weights a published name"
    )
    wanted.add_argument(
        "--random-weights", action="store_true", help="time the published size without weights"
    )
    wanted.add_argument("--device", default="auto")
    wanted.add_argument("--precision", default="auto")
    wanted.add_argument("--engine", default="torch", choices=ENGINES)
    wanted.add_argument(
        "--steps", type=int, help="sampler steps (default: the model's; 1 with random weights)"
    )
    wanted.add_argument("--voxels", type=int, default=8192, help="voxels of stage 2 with random weights")
    wanted.add_argument("--image", type=Path, help="a picture (default: a drawn one)")
    wanted.add_argument("--json", action="store_true", help="print one JSON object")
    return wanted


def _bench(options: argparse.Namespace) -> dict[str, Any]:
    device = choose_device(options.device)
    dtype = choose_dtype(device, options.precision)
    engine = choose_engine(options.engine, device)
    clock = Clock(device)
    with torch.inference_mode():
        if options.random_weights:
            pipeline = clock.time("load", lambda: _random_pipeline(options.model, device, dtype, engine))
        else:
            pipeline = clock.time("load", lambda: _loaded_pipeline(options.model, device, dtype, engine))
        meta = _run(pipeline, clock, options)
        half = dtype if dtype != torch.float32 else torch.bfloat16
        peaks = {str(one).removeprefix("torch."): matrix_peak(device, one) for one in (torch.float32, half)}
    return {
        "model": options.model,
        "random_weights": options.random_weights,
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "engine": engine.name,
        **meta,
        "threads": torch.get_num_threads(),
        "matrix_peak": peaks,  # operations a second by precision
        "stages": [asdict(one) for one in clock.timings],
        "forward_passes": sum(one.forward_passes for one in clock.timings),
        "seconds": round(sum(one.seconds for one in clock.timings), 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_device_memory_bytes": max(one.device_memory_bytes for one in clock.timings),
    }


def _loaded_pipeline(model: str, device: torch.device, dtype: torch.dtype, engine: Engine) -> Pipeline:
    pipeline = Pipeline(open_folder(model), device, dtype, engine=engine)
    for role in pipeline.folder.models:
        pipeline.model(role)
    _ = pipeline.conditioner
    return pipeline


def _random_pipeline(model: str, device: torch.device, dtype: torch.dtype, engine: Engine) -> Pipeline:
    folder, models = random_models(model, device, dtype, engine)
    conditioner = None
    if folder.image_cond_model:
        conditioner = PictureConditioner(DinoV2(DinoV2Config()).to(device).eval(), device)
    return Pipeline(folder, device, dtype, models, conditioner)


def _run(pipeline: Pipeline, clock: Clock, options: argparse.Namespace) -> dict[str, Any]:
    condition = clock.time("condition", lambda: _condition(pipeline, options))
    generator = torch.Generator().manual_seed(1)
    steps = options.steps or (1 if options.random_weights else None)
    structure, slat = (
        one.merged({"steps": steps})
        for one in (pipeline.folder.structure_sampler, pipeline.folder.slat_sampler)
    )
    flow = pipeline.model("sparse_structure_flow_model")
    latent = clock.time(
        "sparse_structure", lambda: pipeline.sample_structure_latent(condition, structure, generator), [flow]
    )
    decoder = pipeline.model("sparse_structure_decoder")
    if options.random_weights:
        clock.time("decode_sparse_structure", lambda: decoder(latent), [decoder])
        resolution = pipeline.model("slat_flow_model").config.resolution
        coords = _shell(options.voxels, resolution).to(pipeline.device)
    else:
        coords = clock.time(
            "decode_sparse_structure", lambda: pipeline.decode_structure(latent)[0], [decoder]
        )
    flow = pipeline.model("slat_flow_model")
    sample = clock.time(
        "structured_latent",
        lambda: pipeline.sample_structured_latent(condition, [coords], slat, generator),
        [flow],
    )[0]
    _decode(pipeline, clock, coords, sample)
    return {"voxels": len(coords), "steps": [structure.steps, slat.steps]}


def _condition(pipeline: Pipeline, options: argparse.Namespace) -> Condition:
    if pipeline.folder.text_cond_model and options.random_weights:
        tokens = torch.randn(TEXT_TOKENS, device=pipeline.device)
        return Condition((tokens,), torch.zeros_like(tokens))
    if pipeline.folder.text_cond_model:
        return pipeline.condition_on_text(PROMPT)
    picture = open_picture(options.image) if options.image else _drawn_picture()
    return pipeline.condition_on_pictures([cut_out(picture, remove_background)])


def _drawn_picture() -> Image.Image:
    """A shaded ball with transparency round it."""
    y, x = numpy.mgrid[-1:1:512j, -1:1:512j] * 1.4
    inside = x**2 + y**2 < 1
    light = numpy.clip(0.4 + 0.5 * (numpy.sqrt(numpy.clip(1 - x**2 - y**2, 0, 1)) - y * 0.5), 0, 1)
    shade = numpy.stack([light * 220, light * 140, light * 60, inside * 255], axis=-1)
    return Image.fromarray((shade * inside[..., None]).astype(numpy.uint8), "RGBA")


def _shell(voxels: int, resolution: int) -> Tensor:
    """About `voxels` voxels (L, 3) of a sphere's surface: what a typical structure looks like."""
    axis = torch.arange(resolution) + 0.5 - resolution / 2
    distance = torch.cartesian_prod(axis, axis, axis).norm(dim=1)
    nearest = (distance - 0.42 * resolution).abs().argsort(stable=True)[:voxels].sort().values
    return torch.stack(
        [nearest // resolution**2, nearest // resolution % resolution, nearest % resolution], 1
    ).int()


def _decode(pipeline: Pipeline, clock: Clock, coords: Tensor, latent: Tensor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if "slat_decoder_gs" in pipeline.folder.models:
            decoder = [pipeline.model("slat_decoder_gs")]
            splats = clock.time("decode_gaussian", lambda: pipeline.decode_gaussians(coords, latent), decoder)
            clock.time("export_ply", lambda: write_ply(Path(folder) / "splats.ply", splats))
        if "slat_decoder_rf" in pipeline.folder.models:
            decoder = [pipeline.model("slat_decoder_rf")]
            clock.time(
                "decode_radiance_field", lambda: pipeline.decode_radiance_field(coords, latent), decoder
            )
        if "slat_decoder_mesh" in pipeline.folder.models:
            decoder = [pipeline.model("slat_decoder_mesh")]
            cubes = clock.time("decode_mesh", lambda: pipeline.decode_cubes(coords, latent), decoder)
            mesh = clock.time("extract_mesh", lambda: pipeline.extract_mesh(*cubes))
            clock.timings[-1] = replace(clock.timings[-1], detail=f"{len(mesh.faces)} faces")
            clock.time("export_glb", lambda: write_glb(Path(folder) / "mesh.glb", mesh))


def _table(report: dict[str, Any]) -> str:
    peaks = ", ".join(f"{name} {peak / 1e9:.0f}" for name, peak in report["matrix_peak"].items())
    head = f"{report['model']} on {report['device']} in {report['precision']}, {report['voxels']} voxels\n"
    head += f"matrix peak in GFLOP/s at {report['threads']} threads: {peaks}\n"
    head += f"  {'stage':26}{'time':>9}    runs    GFLOP  of peak\n"
    rows = [_row(one, report["matrix_peak"][report["precision"]]) for one in report["stages"]]
    gigabytes = max(report["peak_memory_bytes"], report["peak_device_memory_bytes"]) / 2**30
    tail = f"  {'all':26}{report['seconds']:9.3f} s  {report['forward_passes']:>4} passes"
    tail += f", peak memory {gigabytes:.1f} GiB\n"
    return head + "".join(rows) + tail


def _row(stage: dict[str, Any], peak: float) -> str:
    """One line of the table; shares of stages without matrix operations are left out."""
    row = f"  {stage['stage']:26}{stage['seconds']:9.3f} s  {stage['forward_passes'] or '':>4}"
    if stage["operations"]:
        share = stage["operations"] / stage["seconds"] / peak
        row += f"  {stage['operations'] / 1e9:7.1f}  {share:7.0%}"
    if stage["device_memory_bytes"]:
        row += f"  {stage['device_memory_bytes'] / 2**30:.1f} GiB on the card"
    return f"{row}  {stage['detail']}".rstrip() + "\n"
