"""Goldens of the networks: rebuilt from their sidecars, run one object at a time, compared tensor by tensor."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from backend.selftest.golden import Golden

Answers = Iterator[tuple[str, Tensor]]


def objects(coords: Tensor) -> list[Tensor]:
    """Row masks of the objects in a recorded batch (N, 4) whose first column is the object."""
    return [coords[:, 0] == n for n in range(int(coords[:, 0].max()) + 1)]


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
    yield "out/pos_emb", model.pos_emb


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
    raw = [decoder(golden["in/feats"][rows], decoder.structure(coords[rows, 1:])) for rows in objects(coords)]
    yield "out/slat_dec_gs_fp32", torch.cat([_attribute_columns(decoder, one) for one in raw])


def _attribute_columns(decoder: nn.Module, raw: Tensor) -> Tensor:
    """(L·G, 14): raw attributes times their learning rates, in the order _xyz, _features_dc, _scaling, …"""
    from backend.representations.gaussians import raw_attributes

    attributes = raw_attributes(raw, decoder.config.gaussian_config)
    order = ("_xyz", "_features_dc", "_scaling", "_rotation", "_opacity")
    return torch.cat([attributes[name].flatten(1) for name in order], dim=1)
