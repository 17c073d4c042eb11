"""A complete folder of the starter's layout with small random networks and its own encoders."""

import json
from pathlib import Path

import torch
from training_recipe import awakened, tiny_recipe

from backend.checkpoints.weights import build_model, write_model
from backend.lifting.image_encoder import LiftingImageEncoder
from backend.training.starter.networks import ENCODERS, IMAGE_ENCODER, MODELS

SAMPLER = {
    "name": "FlowEulerGuidanceIntervalSampler",
    "args": {"sigma_min": 1e-5},
    "params": {
        "steps": 2,
        "cfg_strength": 0.0,
        "cfg_interval": [0.5, 1.0],
        "rescale_t": 1.0,
        "strength": 0.5,
    },
}


def write_tiny_starter(folder: Path, seed: int = 0) -> Path:
    """Fill `folder`; the same seed gives the same weights."""
    recipe = tiny_recipe()
    torch.manual_seed(seed)
    (folder / "ckpts").mkdir(parents=True)
    models = {
        MODELS["sparse_structure_decoder"]: ("SparseStructureDecoder", recipe.structure_decoder),
        MODELS["sparse_structure_flow_model"]: ("AlignedStructureFlowModel", recipe.structure_flow),
        MODELS["slat_decoder_mesh"]: ("SLatMeshDecoder", recipe.mesh_decoder),
        MODELS["slat_decoder_gs"]: ("SLatGaussianDecoder", recipe.gaussian_decoder),
        MODELS["slat_flow_model"]: ("AlignedSLatFlowModel", recipe.latent_flow),
        ENCODERS["structure"]: ("SparseStructureEncoder", recipe.structure_encoder),
        ENCODERS["latent"]: ("SLatEncoder", recipe.latent_encoder),
    }
    for path, (name, arguments) in models.items():
        write_model(awakened(build_model(name, arguments)), folder / path, half=True)
    write_model(LiftingImageEncoder(recipe.lifting), folder / IMAGE_ENCODER, half=True)
    settings = {
        "name": "TrellisImageTo3DPipeline",
        "args": {
            "models": MODELS,
            "sparse_structure_sampler": SAMPLER,
            "slat_sampler": SAMPLER,
            "slat_normalization": {"mean": [0.1] * 8, "std": [1.5] * 8},
            "image_cond_model": IMAGE_ENCODER,
        },
    }
    (folder / "pipeline.json").write_text(json.dumps(settings))
    return folder
