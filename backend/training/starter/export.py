"""A trained starter -> a model folder in the published layout."""

import copy
from pathlib import Path
from typing import Any

import torch

from backend.models.sparse_structure_vae import SparseStructureDecoder
from backend.training.export import pipeline_settings, write_folder
from backend.training.starter.networks import IMAGE_ENCODER, MODELS, NETWORKS
from backend.training.starter.run import StarterRun


def export(
    run: StarterRun, folder: Path, sampling: dict[str, dict[str, Any]], occupancy_shift: float
) -> None:
    """Writes the folder. `sampling` holds the parameters of "sparse_structure_sampler" and "slat_sampler".

    `occupancy_shift` is added to the structure decoder's logits, so that the published rule, occupied where
    the logit is above 0, is the best one.
    """
    trained = {
        "structure_autoencoder": run.structure,
        "latent_autoencoder": run.latent_autoencoder,
        "lifting": run.lifting,
        "structure_flow": run.structure_flow,
        "latent_flow": run.latent_flow,
    }
    networks: dict[str, Any] = {
        path: trained[part].get_submodule(attribute)
        for part, table in NETWORKS.items()
        for attribute, path in table.items()
    }
    decoder = MODELS["sparse_structure_decoder"]
    networks[decoder] = shifted(networks[decoder], occupancy_shift)
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
