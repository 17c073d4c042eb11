"""A trained workshop -> a model folder in the published layout, with licence, attribution and check sums."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch import nn

from backend.checkpoints.weights import Published, write_model
from backend.files import atomic_path
from backend.geometry.mesh_files import Entry
from backend.training.starter.roles import ENCODERS, IMAGE_ENCODER, ROLES
from backend.training.starter.run import PARTS, Workshop

TEXTS = Path(__file__).with_name("texts")


def export(workshop: Workshop, folder: Path, sampling: dict[str, dict], occupancy_shift: float) -> None:
    """Writes the folder. `sampling` holds the parameters of "sparse_structure_sampler" and "slat_sampler".

    `occupancy_shift` is added to the structure decoder's logits, so that the published rule, occupied where
    the logit is above 0, is the best one.
    """
    export_networks(workshop, folder, PARTS, occupancy_shift)
    _write(folder / "pipeline.json", json.dumps(pipeline_settings(workshop, sampling), indent=4) + "\n")
    _write_papers(folder, workshop.source.entries)
    write_sums(folder)


def export_networks(
    workshop: Workshop, folder: Path, trained: Collection[str], occupancy_shift: float = 0.0
) -> None:
    """Writes the networks that the trained parts hold."""
    (folder / "ckpts").mkdir(parents=True, exist_ok=True)
    models: dict[str, Published] = {}
    if "structure_autoencoder" in trained:
        models[ROLES["sparse_structure_decoder"]] = workshop.structure.decoder
        models[ENCODERS["structure"]] = workshop.structure.encoder
    if "latent_autoencoder" in trained:
        models[ROLES["slat_decoder_mesh"]] = workshop.latent_autoencoder.mesh_decoder
        models[ROLES["slat_decoder_gs"]] = workshop.latent_autoencoder.gaussian_decoder
        models[ENCODERS["latent"]] = workshop.latent_autoencoder.encoder
    if "lifting" in trained:
        models[IMAGE_ENCODER] = workshop.lifting
    if "structure_flow" in trained:
        models[ROLES["sparse_structure_flow_model"]] = workshop.structure_flow
    if "latent_flow" in trained:
        models[ROLES["slat_flow_model"]] = workshop.latent_flow
    for path, module in models.items():
        with _shifted(module, occupancy_shift if path == ROLES["sparse_structure_decoder"] else 0.0):
            write_model(module, folder / path, half=True)


@contextlib.contextmanager
def _shifted(module: nn.Module, shift: float) -> Iterator[None]:
    """The structure decoder with another bias of its logits while the block runs."""
    if not shift:
        yield
        return
    bias = module.out_layer[-1].bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias += shift
    try:
        yield
    finally:
        with torch.no_grad():
            bias.copy_(before)


def pipeline_settings(workshop: Workshop, sampling: dict[str, dict]) -> dict:
    """The content of pipeline.json."""
    samplers = {
        name: {"name": "FlowEulerGuidanceIntervalSampler", "args": {"sigma_min": 1e-5}, "params": params}
        for name, params in sampling.items()
    }
    mean, std = workshop.latents.mean, workshop.latents.std
    return {
        "name": "TrellisImageTo3DPipeline",
        "args": {
            "models": ROLES,
            **samplers,
            "slat_normalization": {"mean": mean.tolist(), "std": std.tolist()},
            "image_cond_model": IMAGE_ENCODER,
        },
    }


def write_sums(folder: Path) -> None:
    """SHA256SUMS over every other file of the folder, as the `sha256sum` program writes it."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = (
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in paths
    )
    _write(folder / "SHA256SUMS", "".join(lines))


def attribution(entries: tuple[Entry, ...]) -> str:
    """The lines that the licences of the training objects ask for; public-domain objects need none."""
    credited = sorted({e.attribution for e in entries if e.attribution and not e.licence.startswith("CC0")})
    head = f"This model was trained on {len(entries)} openly licensed objects."
    free = sum(entry.licence.startswith("CC0") for entry in entries)
    if free:
        head += f" {free} of them are in the public domain (CC0)."
    if not credited:
        return head + "\n"
    return f"{head} The others ask for these credits:\n\n" + "".join(f"- {line}\n" for line in credited)


def _write_papers(folder: Path, entries: tuple[Entry, ...]) -> None:
    _write(folder / "ATTRIBUTION.md", "# Training data\n\n" + attribution(entries))
    for name in ("README.md", "LICENSE"):
        _write(folder / name, (TEXTS / name).read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
