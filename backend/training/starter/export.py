"""A trained starter -> a model folder in the published layout."""

import copy
from pathlib import Path
from typing import Any

import torch

from backend.models.sparse_structure_vae import SparseStructureDecoder
from backend.training.export import ENCODERS, IMAGE_ENCODER, MODELS, pipeline_settings, write_folder
from backend.training.starter.run import StarterRun


def export(
    run: StarterRun, folder: Path, sampling: dict[str, dict[str, Any]], occupancy_shift: float
) -> None:
    """Writes the folder. `sampling` holds the parameters of "sparse_structure_sampler" and "slat_sampler".

    `occupancy_shift` is added to the structure decoder's logits, so that the published rule, occupied where
    the logit is above 0, is the best one.
    """
    networks = {
        MODELS["sparse_structure_decoder"]: shifted(run.structure.decoder, occupancy_shift),
        ENCODERS["structure"]: run.structure.encoder,
        MODELS["slat_decoder_mesh"]: run.latent_autoencoder.mesh_decoder,
        MODELS["slat_decoder_gs"]: run.latent_autoencoder.gaussian_decoder,
        ENCODERS["latent"]: run.latent_autoencoder.encoder,
        IMAGE_ENCODER: run.lifting,
        MODELS["sparse_structure_flow_model"]: run.structure_flow,
        MODELS["slat_flow_model"]: run.latent_flow,
    }
    normalization = run.latents.mean.tolist(), run.latents.std.tolist()
    condition = {"image_cond_model": IMAGE_ENCODER}
    pipeline = pipeline_settings("TrellisImageTo3DPipeline", MODELS, sampling, normalization, condition)
    write_folder(folder, networks, pipeline, run.source.entries, "README.md")


@torch.no_grad()
def shifted(decoder: SparseStructureDecoder, shift: float) -> SparseStructureDecoder:
    """The structure decoder with another bias of its logits."""
    changed = copy.deepcopy(decoder)
    changed.out_layer[-1].bias.add_(shift)
    return changed
