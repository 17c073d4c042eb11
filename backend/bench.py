"""`python -m backend bench`: wall time of every stage, forward passes, peak memory, share of the matrix peak.

The share says how much of the speed of plain matrix products a stage reaches: what is left to win.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from backend.background.remove import remove_background
from backend.checkpoints.published_models import random_models
from backend.checkpoints.weights import open_folder
from backend.errors import UserError
from backend.finishing.chain import finish_mesh
from backend.finishing.settings import PRESETS, FinishSettings
from backend.image import cut_out, open_picture
from backend.layers.engines import ENGINES, Engine, choose_engine
from backend.machine.clock import Clock
from backend.machine.device import choose_device, choose_dtype
from backend.machine.matrix_peak import matrix_peak
from backend.machine.memory import peak_memory_bytes
from backend.models.dinov2 import DinoV2, DinoV2Config
from backend.representations.gaussians import write_ply
from backend.representations.glb import write_glb
from backend.texturing.settings import TextureSettings
from backend.texturing.texture import texture_mesh
from backend.trellis.conditioning import Condition, PictureConditioner
from backend.trellis.decoding import ROLES, EmptyStructure, Voxels
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings, Step
from blender_trellis.batch.options import steps

TEXT_TOKENS = (1, 77, 768)
PROMPT = "a wooden chair"


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
    wanted.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    wanted.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16 (default: auto)")
    wanted.add_argument("--engine", default="torch", choices=ENGINES, help="default: torch")
    wanted.add_argument(
        "--steps", type=steps, help="sampler steps (default: the model's; 1 with random weights)"
    )
    wanted.add_argument(
        "--voxels", type=int, default=8192, help="voxels of stage 2 with random weights (default: 8192)"
    )
    wanted.add_argument("--image", type=Path, help="a picture (default: a drawn one)")
    wanted.add_argument("--finish", default="film", choices=PRESETS, help="default: film; raw: not at all")
    wanted.add_argument("--texture", type=int, default=2048, help="texels a side (default: 2048)")
    wanted.add_argument("--json", action="store_true", help="print one JSON object")
    return wanted


def _bench(options: argparse.Namespace) -> dict[str, Any]:
    device = choose_device(options.device)
    dtype = choose_dtype(device, options.precision)
    engine = choose_engine(options.engine, device)
    clock = Clock(device)
    clock.notice("load")
    with torch.inference_mode(), clock:
        if options.random_weights:
            networks = _random_networks(options.model, device, dtype, engine)
        else:
            networks = _loaded_networks(options.model, device, dtype, engine)
        outputs, meta = _run(networks, clock, options)
    mesh = outputs.get("mesh")
    timings = clock.timings({} if mesh is None else {"extract_mesh": f"{len(mesh.faces)} faces"})
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
        "stages": [asdict(one) for one in timings],
        "forward_passes": sum(one.forward_passes for one in timings),
        "seconds": round(sum(one.seconds for one in timings), 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_device_memory_bytes": max(one.device_memory_bytes for one in timings),
    }


def _loaded_networks(model: str, device: torch.device, dtype: torch.dtype, engine: Engine) -> Networks:
    networks = Networks(open_folder(model), device, dtype, engine=engine)
    for role in networks.folder.models:
        _ = networks[role]
    _ = networks.conditioner
    return networks


def _random_networks(model: str, device: torch.device, dtype: torch.dtype, engine: Engine) -> Networks:
    folder, models = random_models(model, device, dtype, engine)
    conditioner = None
    if folder.image_cond_model:
        conditioner = PictureConditioner(DinoV2(DinoV2Config()).to(device).eval(), device)
    return Networks(folder, device, dtype, models, conditioner)


def _run(
    networks: Networks, clock: Clock, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = networks.folder
    steps = {"steps": options.steps or (1 if options.random_weights else None)}
    settings = Settings(
        folder.structure_sampler.merged(steps),
        folder.slat_sampler.merged(steps),
        tuple(kind for kind, role in ROLES.items() if role in folder.models),
    )
    with ExitStack() as hooks:
        for role in folder.models:
            hooks.callback(clock.count_passes(networks[role]).remove)
        clock.notice("condition")
        condition = _condition(networks, options)
        run = partial(generate, networks, condition, settings, torch.Generator().manual_seed(1))
        shape = None
        if options.random_weights:  # their structure is no object: the second stage gets a typical one
            with suppress(EmptyStructure):
                _follow(clock, run(report=clock.report), until="voxels")
            resolution = networks["slat_flow_model"].config.resolution
            coords = _shell(options.voxels, resolution).to(networks.device)
            shape = [Voxels(coords, resolution, torch.empty(0))]
        outputs = _follow(clock, run(voxels=shape, report=clock.report))
    _write(clock, outputs)
    finishing = FinishSettings.preset(options.finish)
    if "mesh" in outputs and not options.random_weights and not finishing.changes_nothing:
        _finish(clock, outputs, finishing, options.texture)  # random weights draw no surface
    voxels = len(outputs["structured_latent"].coords)
    return outputs, {"voxels": voxels, "steps": [settings.structure.steps, settings.latent.steps]}


def _follow(clock: Clock, events: Iterator[Step | Output], until: str = "") -> dict[str, Any]:
    """The outputs by kind; no more of them than `until`."""
    outputs: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Step):
            clock.notice(event.stage)
            continue
        outputs[event.kind] = event.value
        if event.kind == until:
            break
    return outputs


def _write(clock: Clock, outputs: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if "gaussian" in outputs:
            clock.notice("export_ply")
            write_ply(Path(folder) / "splats.ply", outputs["gaussian"])
        if "mesh" in outputs:
            clock.notice("export_glb")
            write_glb(Path(folder) / "mesh.glb", outputs["mesh"])


def _finish(clock: Clock, outputs: dict[str, Any], settings: FinishSettings, size: int) -> None:
    """Each step of finishing a stage, and of a texture."""

    def report(kind: str) -> Callable[[str, int, int], None]:
        return lambda step, done, of: clock.notice(f"{kind}_{step}")

    with suppress(UserError):  # a mesh without a surface cannot be finished
        clock.notice("finish")
        mesh, _ = finish_mesh(outputs["mesh"], settings, report("finish"))
        texture_mesh(mesh, TextureSettings(size), outputs.get("gaussian"), report=report("texture"))


def _condition(networks: Networks, options: argparse.Namespace) -> Condition:
    if networks.folder.text_cond_model and options.random_weights:
        tokens = torch.randn(TEXT_TOKENS, device=networks.device)
        return Condition((tokens,), torch.zeros_like(tokens))
    if networks.folder.text_cond_model:
        return networks.conditioner.from_text(PROMPT)
    picture = open_picture(options.image) if options.image else _drawn_picture()
    return networks.conditioner.from_pictures([cut_out(picture, remove_background)])


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
