"""Goldens of whole runs: picture to representations, and detail variation on a given shape."""

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
import trimesh
from torch import Tensor

from backend.geometry.voxelize import voxelize
from backend.image import open_picture, preprocess
from backend.representations.gaussians import Gaussians, read_ply, write_ply
from backend.representations.mesh import Mesh
from backend.representations.radiance_field import RadianceField
from backend.sampling import SamplerSettings, flow_euler, guided, timesteps
from backend.selftest.golden import Golden, objects
from backend.selftest.pictures import no_background_remover
from backend.trellis.decoding import ROLES
from backend.trellis.generate import generate
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Settings

Answers = Iterator[tuple[str, Tensor] | tuple[str, Tensor, Tensor]]


def image_pipeline(golden: Golden) -> Answers:
    """Every recorded run: condition, noises, both stages, and each representation."""
    networks = Networks.open(golden.folder, golden.device, torch.float32, golden.engine.name)
    runs = golden.sidecar["runs"]
    for name, recorded in runs.items():
        call = parse_call(recorded["call"])
        files = (
            [golden.folder / one for one in recorded["images"]]
            if "images" in recorded
            else [golden.root / (recorded.get("image_file") or _picture_of_first_run(runs))]
        )
        yield from _run(golden, networks, name, files, call)


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


def _run(golden: Golden, networks: Networks, name: str, files: list[Path], call: dict[str, Any]) -> Answers:
    pictures = [preprocess(open_picture(path), no_background_remover) for path in files]
    condition = networks.conditioner.from_pictures(pictures)
    yield from _condition(golden, torch.cat(condition.tokens))
    folder = networks.folder
    settings = Settings(
        folder.structure_sampler.merged(call.get("sparse_structure_sampler_params", {})),
        folder.slat_sampler.merged(call.get("slat_sampler_params", {})),
        tuple(kind for kind in ROLES if golden.names(f"{name}/{_RECORDED[kind]}")),
        int(call.get("num_samples", 1)),
        call.get("mode", "stochastic"),
        close_border=False,
    )
    generator = torch.Generator().manual_seed(int(call["seed"]))
    yield f"{name}/ss_noise", _same_draw(generator, golden[f"{name}/ss_noise"])
    outputs: dict[str, list[Any]] = {}
    for event in generate(networks, condition, settings, generator):
        if not isinstance(event, Output):
            continue
        if event.kind == "voxels" and event.sample == 0:  # the generator has drawn the structure's noise only
            yield f"{name}/slat_noise", _same_draw(generator, golden[f"{name}/slat_noise"])
        outputs.setdefault(event.kind, []).append(event.value)
        if event.kind in _RECORDED and golden.names(f"{name}/{_RECORDED[event.kind]}{event.sample}/"):
            yield from _ANSWERS[event.kind](golden, name, event.sample, event.value)
    yield from _latents(golden, networks, name, outputs)


def _latents(golden: Golden, networks: Networks, name: str, outputs: dict[str, list[Any]]) -> Answers:
    latent = torch.cat(outputs["structure_latent"])
    yield f"{name}/ss_sample", latent
    yield f"{name}/z_s", latent
    decoder = networks["sparse_structure_decoder"]
    yield f"{name}/ss_logits", torch.cat([decoder(one[None]) for one in latent])
    coords = [one.coords for one in outputs["voxels"]]
    numbered = torch.cat([torch.nn.functional.pad(one, (1, 0), value=n) for n, one in enumerate(coords)])
    yield f"{name}/coords", numbered
    yield f"{name}/slat_coords", numbered
    feats = torch.cat([one.feats for one in outputs["structured_latent"]])
    mean, std = (torch.tensor(v, device=golden.device) for v in networks.folder.slat_normalization)
    yield f"{name}/slat", feats
    yield f"{name}/slat_sample", (feats - mean) / std


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


def _mesh(golden: Golden, run: str, n: int, mesh: Mesh) -> Answers:
    yield f"{run}/mesh{n}/vertices", mesh.vertices
    yield f"{run}/mesh{n}/faces", mesh.faces.int()
    if mesh.colors is not None and mesh.normals is not None:
        yield f"{run}/mesh{n}/vertex_attrs", torch.cat([mesh.colors, mesh.normals], dim=1)


def _gaussians(golden: Golden, run: str, n: int, splats: Gaussians) -> Answers:
    yield f"{run}/gaussian{n}/get_xyz", splats.position
    yield f"{run}/gaussian{n}/_features_dc", splats.color_dc[:, None]
    yield f"{run}/gaussian{n}/get_scaling", splats.scale
    yield f"{run}/gaussian{n}/get_rotation", torch.nn.functional.normalize(splats.rotation, dim=-1)
    yield f"{run}/gaussian{n}/get_opacity", splats.opacity
    yield from ply_files(golden.folder / f"{run}_gaussian", splats) if n == 0 else ()


def _radiance_field(golden: Golden, run: str, n: int, field: RadianceField) -> Answers:
    for attribute in ("position", "trivec", "density", "features_dc"):
        yield f"{run}/rf{n}/{attribute}", getattr(field, attribute)


_RECORDED = {"gaussian": "gaussian", "radiance_field": "rf", "mesh": "mesh"}
"""What the goldens call each format."""
_ANSWERS = {"gaussian": _gaussians, "radiance_field": _radiance_field, "mesh": _mesh}


def ply_files(stem: Path, splats: Gaussians) -> Answers:
    """The splat files recorded beside a run, against the ones that this engine writes."""
    for suffix, options in ((".ply", {}), ("_notransform.ply", {"transform": None})):
        recorded = stem.with_name(stem.name + suffix)
        if not recorded.is_file():
            continue
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "splats.ply"
            write_ply(written, splats, **options)
            yield f"{recorded.name} header", _header(written), _header(recorded)
            # Activated values: a logarithm of a small scale magnifies differences in the last bit.
            pair = [read_ply(path, transform=None) for path in (written, recorded)]
            if not options:
                pair = [replace(one, rotation=_signed_squares(one.rotation)) for one in pair]
            for name in (
                field.name for field in fields(Gaussians) if field.name != "keys"
            ):  # files have none
                yield f"{recorded.name} {name}", *(getattr(one, name) for one in pair)


def _signed_squares(quaternions: Tensor) -> Tensor:
    """What a turned quaternion is computed as the root of: near zero 1e-7 of it are 3e-4 of the component."""
    return quaternions * quaternions.abs()


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
        mesh = trimesh.load_mesh(golden.folder / f"{name}.ply", process=False)
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
