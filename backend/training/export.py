"""A trained workshop -> a model folder in the published layout, with licence, attribution and check sums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from backend.checkpoints import write_model
from backend.files import atomic_path
from backend.training.assets import Entry
from backend.training.workshop import Workshop

ROLES = {
    "sparse_structure_decoder": "ckpts/ss_dec_conv3d_16l8",
    "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_16l8",
    "slat_decoder_mesh": "ckpts/slat_dec_mesh_swin8_32l8m128c",
    "slat_decoder_gs": "ckpts/slat_dec_gs_swin8_32l8gs8",
    "slat_flow_model": "ckpts/slat_flow_img_dit_32l8p2",
}
ENCODERS = {"structure": "ckpts/ss_enc_conv3d_16l8", "latent": "ckpts/slat_enc_swin8_32l8"}
IMAGE_ENCODER = "ckpts/image_encoder"
TEXTS = Path(__file__).with_name("texts")


def export(workshop: Workshop, folder: Path, sampling: dict[str, dict], occupancy_shift: float) -> None:
    """Writes the folder. `sampling` holds the parameters of "sparse_structure_sampler" and "slat_sampler".

    `occupancy_shift` is added to the structure decoder's logits, so that the published rule, occupied where
    the
    logit is above 0, is the best one.
    """
    (folder / "ckpts").mkdir(parents=True, exist_ok=True)
    structure, latent = workshop.structure, workshop.latent_autoencoder
    with torch.no_grad():
        structure.decoder.out_layer[-1].bias += occupancy_shift
    models = {
        ROLES["sparse_structure_decoder"]: structure.decoder,
        ROLES["sparse_structure_flow_model"]: workshop.structure_flow,
        ROLES["slat_decoder_mesh"]: latent.mesh_decoder,
        ROLES["slat_decoder_gs"]: latent.gaussian_decoder,
        ROLES["slat_flow_model"]: workshop.latent_flow,
        ENCODERS["structure"]: structure.encoder,
        ENCODERS["latent"]: latent.encoder,
        IMAGE_ENCODER: workshop.lifting,
    }
    for path, module in models.items():
        write_model(module, folder / path, half=True)
    with torch.no_grad():
        structure.decoder.out_layer[-1].bias -= occupancy_shift
    _write(folder / "pipeline.json", json.dumps(pipeline_settings(workshop, sampling), indent=4) + "\n")
    _write_papers(folder, workshop.source.entries)
    write_sums(folder)


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
