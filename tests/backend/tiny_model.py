"""A complete model folder in the published layout with small random networks, so that runs take seconds."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from backend.checkpoints.weights import build_model, write_model
from backend.models.dinov2 import DinoV2, DinoV2Config

TRUNK = {
    "resolution": 16,
    "latent_channels": 4,
    "num_blocks": 1,
    "num_heads": 2,
    "mlp_ratio": 1,
    "attn_mode": "swin",
    "window_size": 8,
    "use_fp16": False,
}
FLOW = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "cond_channels": 32,
    "num_blocks": 1,
    "num_heads": 2,
    "mlp_ratio": 2,
    "pe_mode": "ape",
    "qk_rms_norm": True,
    "use_fp16": False,
}
MODELS = {
    "sparse_structure_decoder": (
        "SparseStructureDecoder",
        {
            "out_channels": 1,
            "latent_channels": 4,
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "channels": [8, 8, 8],
            "use_fp16": False,
        },
    ),
    "sparse_structure_flow_model": ("SparseStructureFlowModel", FLOW | {"resolution": 4, "patch_size": 1}),
    "slat_flow_model": (
        "SLatFlowModel",
        FLOW | {"resolution": 16, "patch_size": 2, "num_io_res_blocks": 1, "io_block_channels": [8]},
    ),
    "slat_decoder_gs": (
        "SLatGaussianDecoder",
        TRUNK | {"model_channels": 32, "representation_config": {"num_gaussians": 4}},
    ),
    "slat_decoder_rf": (
        "SLatRadianceFieldDecoder",
        TRUNK | {"model_channels": 32, "representation_config": {"rank": 2, "dim": 4}},
    ),
    "slat_decoder_mesh": (
        "SLatMeshDecoder",
        TRUNK | {"model_channels": 256, "representation_config": {"use_color": True}},
    ),
}
ENCODERS = {
    "ss_enc": (
        "SparseStructureEncoder",
        {
            "in_channels": 1,
            "latent_channels": 4,
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "channels": [8, 8, 8],
            "use_fp16": False,
        },
    ),
    "slat_enc": ("SLatEncoder", TRUNK | {"in_channels": 32, "model_channels": 32}),
}
"""What turns objects into latents; folders have them beside the models of pipeline.json."""
SAMPLER = {
    "name": "FlowEulerGuidanceIntervalSampler",
    "args": {"sigma_min": 1e-5},
    "params": {"steps": 3, "cfg_strength": 2.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
}


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Fill `folder` with pipeline.json, ckpts/ and an image encoder; the same seed gives the same weights."""
    torch.manual_seed(seed)
    (folder / "ckpts").mkdir(parents=True)
    for role, (name, args) in MODELS.items():
        model = build_model(name, args)
        for parameter in model.parameters():  # layers that start at zero would hide what they do
            torch.nn.init.normal_(parameter, std=0.15)
        if role == "sparse_structure_decoder":  # few voxels: the time of the tests goes into their meshes
            torch.nn.init.constant_(model.out_layer[-1].bias, model.out_layer[-1].bias.item() - 0.1)
        write_model(model, folder / "ckpts" / role, half=False)
    _write_image_encoder(folder)
    settings = {
        "name": "TrellisImageTo3DPipeline",
        "args": {
            "models": {role: f"ckpts/{role}" for role in MODELS},
            "sparse_structure_sampler": SAMPLER,
            "slat_sampler": SAMPLER,
            "slat_normalization": {"mean": [0.1, -0.2, 0.3, 0.0], "std": [2.0, 1.5, 2.5, 1.0]},
            "image_cond_model": "dinov2_vitl14_reg",
        },
    }
    (folder / "pipeline.json").write_text(json.dumps(settings))
    return folder


def write_tiny_encoders(folder: Path, seed: int = 1) -> None:
    """Add the encoders that fine-tuning needs to a tiny model's folder."""
    torch.manual_seed(seed)
    for stem, (name, args) in ENCODERS.items():
        model = build_model(name, args)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
        write_model(model, folder / "ckpts" / stem, half=False)


def _write_image_encoder(folder: Path) -> None:
    words = {"img_size": 518, "patch_size": 14, "embed_dim": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2}
    encoder = DinoV2(DinoV2Config.from_args(words))
    (folder / "image_cond_model.json").write_text(json.dumps(words))
    state = {key: value.contiguous() for key, value in encoder.network.state_dict().items()}
    save_file(state, folder / "image_cond_model.safetensors")
