"""A trained text workshop -> a model folder in the published layout of text models.

As the published ones do, it names the decoders of the picture model instead of storing them again.
"""

from __future__ import annotations

import json
from pathlib import Path

from backend.checkpoints.weights import write_model
from backend.files import atomic_path
from backend.geometry.mesh_files import Entry
from backend.training.export import attribution, write_sums
from backend.training.starter.roles import ROLES
from backend.training.text.run import TextWorkshop

TEXT_ENCODER = "ckpts/text_encoder"
FLOWS = {
    "sparse_structure_flow_model": "ckpts/ss_flow_txt_dit_16l8",
    "slat_flow_model": "ckpts/slat_flow_txt_dit_32l8p2",
}
DECODERS = ("sparse_structure_decoder", "slat_decoder_mesh", "slat_decoder_gs")
# Minutes of training make flows that polish what the encoder guesses and are lost in pure noise.
SAMPLING = {"steps": 2, "cfg_strength": 0.0, "cfg_interval": [0.5, 1.0], "rescale_t": 1.0, "strength": 0.03}
TEXTS = Path(__file__).parents[1] / "texts"


def export_text(workshop: TextWorkshop, folder: Path, starter: str = "starter") -> None:
    """Writes the folder; `starter` names the picture model that lies beside it."""
    (folder / "ckpts").mkdir(parents=True, exist_ok=True)
    write_model(workshop.lifting, folder / TEXT_ENCODER, half=True)
    write_model(workshop.structure_flow, folder / FLOWS["sparse_structure_flow_model"], half=True)
    write_model(workshop.latent_flow, folder / FLOWS["slat_flow_model"], half=True)
    _write(folder / "pipeline.json", json.dumps(pipeline_settings(workshop, starter), indent=4) + "\n")
    _write_papers(folder, workshop.entries)
    write_sums(folder)


def pipeline_settings(workshop: TextWorkshop, starter: str) -> dict:
    """The content of pipeline.json."""
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": SAMPLING,
    }
    targets = workshop.starter.latents
    return {
        "name": "TrellisTextTo3DPipeline",
        "args": {
            "models": {**{role: f"{starter}/{ROLES[role]}" for role in DECODERS}, **FLOWS},
            "sparse_structure_sampler": sampler,
            "slat_sampler": sampler,
            "slat_normalization": {"mean": targets.mean.tolist(), "std": targets.std.tolist()},
            "text_cond_model": TEXT_ENCODER,
        },
    }


def _write_papers(folder: Path, entries: tuple[Entry, ...]) -> None:
    _write(folder / "ATTRIBUTION.md", "# Training data\n\n" + attribution(entries))
    _write(folder / "README.md", (TEXTS / "README-text.md").read_text(encoding="utf-8"))
    _write(folder / "LICENSE", (TEXTS / "LICENSE").read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
