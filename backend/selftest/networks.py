"""Goldens of the networks: rebuilt from their sidecars and run one object at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from backend.representations.gaussians import RawGaussians
from backend.selftest.decoders import raw_gaussians
from backend.selftest.golden import Golden, objects

Answers = Iterator[tuple[str, Tensor]]


def posterior_sample(mean: Tensor, logvar: Tensor, seed: int) -> Tensor:
    """mean + exp(½·logvar)·ε with ε from the CPU generator."""
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + (0.5 * logvar).exp() * noise.to(mean.device)


def sparse_structure_vae(golden: Golden) -> Answers:
    mean, logvar = golden.model("ss_enc")(golden["in/occupancy"])
    yield "out/enc_mean", mean
    yield "out/enc_z", mean
    yield "out/enc_logvar", logvar
    yield "out/enc_z_sampled", posterior_sample(mean, logvar, golden.seed_of("out/enc_z_sampled"))
    decoder = golden.model("ss_dec")
    logits = decoder(golden["in/latent"])
    yield "out/dec_logits", logits
    yield "out/dec_coords", torch.argwhere(logits > 0)[:, [0, 2, 3, 4]].int()
    yield "out/roundtrip_logits", decoder(golden["out/enc_mean"])


def sparse_structure_flow(golden: Golden) -> Answers:
    model = golden.model("ss_flow")
    yield "out/v", model(golden["in/x"], golden["in/t"], model.context(golden["in/cond"]))
    yield "out/pos_emb", model.get_buffer("pos_emb")


def structured_latent_flow(golden: Golden) -> Answers:
    yield "out/v", _slat_velocity(golden.model("slat_flow"), golden)


def _slat_velocity(model: nn.Module, golden: Golden) -> Tensor:
    coords, feats = golden["in/coords"], golden["in/feats"]
    parts = []
    for n, rows in enumerate(objects(coords)):
        context = model.context(golden["in/cond"][n : n + 1])
        structure = model.structure(coords[rows, 1:])
        parts.append(model(feats[rows], golden["in/t"][n : n + 1], context, structure))
    return torch.cat(parts)


def structured_latent_encoder(golden: Golden) -> Answers:
    model, coords, feats = golden.model("slat_enc"), golden["in/coords"], golden["in/feats"]
    parts = [model(feats[rows], model.structure(coords[rows, 1:])) for rows in objects(coords)]
    mean, logvar = (torch.cat(part) for part in zip(*parts, strict=True))
    yield "out/mean", mean
    yield "out/z", mean
    yield "out/logvar", logvar
    yield "out/z_sampled", posterior_sample(mean, logvar, golden.seed_of("out/z_sampled"))


def half_precision_checkpoints(golden: Golden) -> Answers:
    """Half-precision torso weights, converted at load and computed in fp32."""
    flow = golden.model("ss_flow")
    yield "out/ss_flow_fp32", flow(golden["in/x"], golden["in/t"], flow.context(golden["in/cond"]))
    yield "out/ss_dec_fp32", golden.model("ss_dec")(golden["in/z"])
    yield "out/slat_flow_fp32", _slat_velocity(golden.model("slat_flow"), golden)
    decoder, coords = golden.model("slat_dec_gs"), golden["in/coords"]
    parts = [raw_gaussians(decoder, coords[rows, 1:], golden["in/feats"][rows]) for rows in objects(coords)]
    yield "out/slat_dec_gs_fp32", torch.cat([_columns(part) for part in parts])


def _columns(raw: RawGaussians) -> Tensor:
    """(N, 14) in the recorded order."""
    return torch.cat([raw.xyz, raw.features_dc, raw.scaling, raw.rotation, raw.opacity], dim=1)
