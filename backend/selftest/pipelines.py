"""Goldens of whole runs: picture to representations, and detail variation on a given shape."""

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
import trimesh
from torch import Tensor

from backend.geometry.voxelize import voxelize
from backend.image.decode import open_picture, preprocess
from backend.representations.flexicubes import extract_mesh
from backend.representations.gaussians import Gaussians, read_ply, write_ply
from backend.sampling import SamplerSettings, flow_euler, guided, timesteps
from backend.selftest.golden import Golden, objects
from backend.selftest.pictures import no_background_remover
from backend.trellis.pipeline import Pipeline

Answers = Iterator[tuple[str, Tensor] | tuple[str, Tensor, Tensor]]


def image_pipeline(golden: Golden) -> Answers:
    """Every recorded run: condition, noises, both stages, and each representation."""
    pipeline = Pipeline.open(golden.folder, golden.device, torch.float32, golden.engine.name)
    runs = golden.sidecar["runs"]
    for name, recorded in runs.items():
        call = parse_call(recorded["call"])
        files = (
            [golden.folder / one for one in recorded["images"]]
            if "images" in recorded
            else [golden.root / (recorded.get("image_file") or _picture_of_first_run(runs))]
        )
        yield from _run(golden, pipeline, name, files, call)


def _picture_of_first_run(runs: dict[str, Any]) -> str:
    """A run that names no picture used the one before it."""
    return next(run["image_file"] for run in runs.values() if "image_file" in run)


def parse_call(call: str) -> dict[str, Any]:
    """`run(image, seed=1, formats=[gaussian], slat_sampler_params={steps:3,…})` -> its keyword arguments."""
    arguments: dict[str, Any] = {}
    for key, value in re.findall(r"(\w+)=(\{[^}]*\}|\[[^\]]*\]|[^,)]+)", call):
        if value.startswith("{"):
            pairs = re.findall(r"(\w+)\s*:\s*(\[[^\]]*\]|[^,}]+)", value)
            arguments[key] = {k: _number(v) for k, v in pairs}
        elif value.startswith("["):
            arguments[key] = [part.strip(" '\"") for part in value[1:-1].split(",") if part.strip()]
        else:
            arguments[key] = value.strip(" '\"")
    return arguments


def _number(text: str) -> Any:
    value = json.loads(text)
    return tuple(value) if isinstance(value, list) else value


def _run(golden: Golden, pipeline: Pipeline, name: str, files: list[Path], call: dict[str, Any]) -> Answers:
    pictures = [preprocess(open_picture(path), no_background_remover) for path in files]
    condition = pipeline.condition_on_pictures(pictures)
    yield from _condition(golden, torch.cat(condition.tokens))
    generator = torch.Generator().manual_seed(int(call["seed"]))
    samples, multi = int(call.get("num_samples", 1)), call.get("mode", "stochastic")
    yield f"{name}/ss_noise", _same_draw(generator, golden[f"{name}/ss_noise"])
    settings = pipeline.folder.structure_sampler.merged(call.get("sparse_structure_sampler_params", {}))
    latent = pipeline.sample_structure_latent(condition, settings, generator, samples, multi)
    yield f"{name}/ss_sample", latent
    yield f"{name}/z_s", latent
    yield (
        f"{name}/ss_logits",
        torch.cat([pipeline.model("sparse_structure_decoder")(one[None]) for one in latent]),
    )
    coords = pipeline.decode_structure(latent)
    numbered = torch.cat([torch.nn.functional.pad(one, (1, 0), value=n) for n, one in enumerate(coords)])
    yield f"{name}/coords", numbered
    yield f"{name}/slat_coords", numbered
    yield f"{name}/slat_noise", _same_draw(generator, golden[f"{name}/slat_noise"])
    settings = pipeline.folder.slat_sampler.merged(call.get("slat_sampler_params", {}))
    latents = pipeline.sample_structured_latent(condition, coords, settings, generator, multi)
    mean, std = (torch.tensor(v, device=golden.device) for v in pipeline.folder.slat_normalization)
    yield f"{name}/slat", torch.cat(latents)
    yield f"{name}/slat_sample", (torch.cat(latents) - mean) / std
    for n, (one, feats) in enumerate(zip(coords, latents, strict=True)):
        yield from _representations(golden, pipeline, name, n, one, feats)


def _same_draw(generator: torch.Generator, recorded: Tensor) -> Tensor:
    """What the generator would draw next, without moving it."""
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return torch.randn(recorded.shape, generator=copy)


def _condition(golden: Golden, tokens: Tensor) -> Answers:
    if len(tokens) == 1 and "cond/single" in golden.tensors:
        yield "cond/single", tokens
    for name in golden.names("cond/multi"):
        if len(tokens) == len(golden[name]):
            yield name, tokens[:, : golden[name].shape[1]]


def _representations(
    golden: Golden, pipeline: Pipeline, run: str, n: int, coords: Tensor, latent: Tensor
) -> Answers:
    if golden.names(f"{run}/mesh{n}/"):
        resolution = 4 * pipeline.model("slat_decoder_mesh").config.resolution
        mesh = extract_mesh(*pipeline.decode_cubes(coords, latent), resolution, close_border=False)
        yield f"{run}/mesh{n}/vertices", mesh.vertices
        yield f"{run}/mesh{n}/faces", mesh.faces.int()
        yield f"{run}/mesh{n}/vertex_attrs", torch.cat([mesh.colors, mesh.normals], dim=1)
    if golden.names(f"{run}/gaussian{n}/"):
        splats = pipeline.decode_gaussians(coords, latent)
        yield f"{run}/gaussian{n}/get_xyz", splats.position
        yield f"{run}/gaussian{n}/_features_dc", splats.color_dc[:, None]
        yield f"{run}/gaussian{n}/get_scaling", splats.scale
        yield f"{run}/gaussian{n}/get_rotation", torch.nn.functional.normalize(splats.rotation, dim=-1)
        yield f"{run}/gaussian{n}/get_opacity", splats.opacity
        yield from ply_files(golden.folder / f"{run}_gaussian", splats) if n == 0 else ()
    if golden.names(f"{run}/rf{n}/"):
        field = pipeline.decode_radiance_field(coords, latent)
        for attribute in ("position", "trivec", "density", "features_dc"):
            yield f"{run}/rf{n}/{attribute}", getattr(field, attribute)


def ply_files(stem: Path, splats: Gaussians) -> Answers:
    """The splat files recorded beside a run, against the ones that this engine writes."""
    for suffix, options in ((".ply", {}), ("_notransform.ply", {"transform": None})):
        recorded = stem.with_name(stem.name + suffix)
        if not recorded.is_file():
            continue
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "splats.ply"
            write_ply(written, splats, **options)
            yield f"{recorded.name} header", *(_header(path) for path in (written, recorded))
            # Activated values: a logarithm of a small scale magnifies differences in the last bit.
            pair = [read_ply(path, transform=None) for path in (written, recorded)]
            for field in fields(Gaussians):
                yield f"{recorded.name} {field.name}", *(getattr(one, field.name) for one in pair)


def _header(path: Path) -> Tensor:
    header, mark, _ = path.read_bytes().partition(b"end_header\n")
    return torch.frombuffer(bytearray(header + mark), dtype=torch.uint8)


def detail_variation(golden: Golden) -> Answers:
    """Mesh -> voxels -> the structured latent sampled on them under another condition."""
    meshes = {name.split("/")[0] for name in golden.names("") if name.endswith("/coords_sorted")}
    voxels = {name: _voxels(golden, name) for name in sorted(meshes)}
    for name, coords in voxels.items():
        yield f"{name}/coords_sorted", coords
    call = golden.sidecar["tensors"]["variant/coords"]["desc"]
    mesh = re.search(r"mesh=(\w+)", call)[1]
    samples = int(re.search(r"num_samples=(\d+)", call)[1])
    coords = torch.cat([torch.nn.functional.pad(voxels[mesh], (1, 0), value=n) for n in range(samples)])
    yield "variant/coords", coords
    seed = torch.Generator().manual_seed(int(re.search(r"seed=(\d+)", call)[1]))
    noise = torch.randn(golden["variant/noise"].shape, generator=seed)
    yield "variant/noise", noise
    yield "variant/slat", _variant(golden, coords.to(golden.device), noise.to(golden.device))


def _voxels(golden: Golden, name: str) -> Tensor:
    if f"{name}/vertices" in golden.tensors:
        vertices, faces = (
            golden.tensors[f"{name}/vertices"].numpy(),
            golden.tensors[f"{name}/triangles"].numpy(),
        )
    else:
        mesh = trimesh.load(golden.folder / f"{name}.ply", process=False)
        vertices, faces = mesh.vertices, mesh.faces
    return torch.as_tensor(voxelize(numpy.asarray(vertices, dtype=numpy.float64), numpy.asarray(faces)))


def _variant(golden: Golden, coords: Tensor, noise: Tensor) -> Tensor:
    recorded = golden.sidecar["pipeline"]
    settings = SamplerSettings().merged(
        {k: tuple(v) if isinstance(v, list) else v for k, v in recorded["slat_sampler_params"].items()}
    )
    model = golden.model("slat_flow")
    contexts = [model.context(golden["cond"])], model.context(golden["neg_cond"])
    parts = []
    for rows in objects(coords):
        on_structure = partial(model, structure=model.structure(coords[rows, 1:]))
        velocity = guided(on_structure, *contexts, settings)
        parts.append(flow_euler(velocity, noise[rows], timesteps(settings.steps, settings.rescale_t)))
    mean, std = (
        torch.tensor(recorded["slat_normalization"][key], device=golden.device) for key in ("mean", "std")
    )
    return torch.cat(parts) * std + mean
