"""Golden of the low-level pieces: layouts, embeddings, pooling, windows, pixel shuffle."""

from collections.abc import Iterator

import torch
from torch import Tensor

from backend.layers.embedding import absolute_position_embedding, timestep_frequencies
from backend.layers.norm import MultiHeadRMSNorm
from backend.layers.sparse import pool, pool_coords, subdivide, subdivide_coords, unpool
from backend.layers.sparse_conv import PointwiseConv3d
from backend.layers.window_attention import window_ids
from backend.models.sparse_structure_flow import patchify
from backend.models.sparse_structure_vae import pixel_shuffle_3d
from backend.models.structured_latent_vae import offset_perturbation, radical_inverse
from backend.selftest.golden import Golden, objects

Answers = Iterator[tuple[str, Tensor]]


def primitives(golden: Golden) -> Answers:
    yield from _convolutions(golden)
    yield from _embeddings(golden)
    yield from _resampling(golden)
    yield from _windows(golden)
    yield from _dense(golden)


def _convolutions(golden: Golden) -> Answers:
    coords, feats = golden["conv/coords"], golden["conv/feats"]
    weight, bias = golden["conv/k3_weight"], golden["conv/k3_bias"]
    tables = [(rows, golden.engine.neighbours(coords[rows, 1:].long())) for rows in objects(coords)]
    yield (
        "conv/k3_out",
        torch.cat([table.convolve(feats[rows], weight, bias) for rows, table in tables]),
    )
    pointwise = PointwiseConv3d(feats.shape[1], len(golden["conv/k1_bias"])).to(golden.device)
    pointwise.load_state_dict({"conv.weight": golden["conv/k1_weight"], "conv.bias": golden["conv/k1_bias"]})
    yield "conv/k1_out", pointwise(feats)


def _embeddings(golden: Golden) -> Answers:
    for name in golden.names("ape/"):
        if name != "ape/coords":
            yield name, absolute_position_embedding(golden["ape/coords"], int(name.removeprefix("ape/")))
    yield "t/freq256", timestep_frequencies(golden["t/t"])


def _resampling(golden: Golden) -> Answers:
    coords, feats = golden["conv/coords"], golden["conv/feats"]
    coarse_coords, coarse, restored, children = [], [], [], []
    for n, rows in enumerate(objects(coords)):
        pooling = pool_coords(coords[rows, 1:].long())
        coarse.append(pool(feats[rows], pooling))
        restored.append(unpool(coarse[-1], pooling))
        coarse_coords.append(_with_object(pooling.coarse_coords, n))
        children.append(_with_object(subdivide_coords(coords[rows, 1:]), n))
    yield "down/feats", torch.cat(coarse)
    yield "down/coords", torch.cat(coarse_coords)
    yield "up/feats", torch.cat(restored)
    yield "subdivide/coords", torch.cat(children)
    yield "subdivide/feats", subdivide(feats)


def _with_object(coords: Tensor, n: int) -> Tensor:
    return torch.cat([torch.full_like(coords[:, :1], n), coords], dim=1).int()


def _windows(golden: Golden) -> Answers:
    """Number of each voxel's window among the non-empty ones, one object after the other."""
    coords = golden["conv/coords"]
    for name in golden.names("window/"):
        if name.endswith("_len"):
            continue
        window, shift = map(int, name.removeprefix("window/").split("_"))
        numbers: list[Tensor] = []
        for rows in objects(coords):
            own = torch.unique(window_ids(coords[rows, 1:], window, shift), return_inverse=True)[1]
            numbers.append(own + (numbers[-1].max() + 1 if numbers else 0))
        flat = torch.cat(numbers)
        yield name, flat.int()
        yield f"{name}_len", torch.bincount(flat).int()


def _dense(golden: Golden) -> Answers:
    yield "patch/patchify2", patchify(golden["patch/x"], 2)
    yield "shuffle/out", pixel_shuffle_3d(golden["shuffle/x"])
    norm = MultiHeadRMSNorm(golden["rms/gamma"].shape[1], golden["rms/gamma"].shape[0]).to(golden.device)
    norm.load_state_dict({"gamma": golden["rms/gamma"]})
    yield "rms/out", norm(golden["rms/x"])
    for name in golden.names("hammersley/"):
        yield name, _hammersley(name)


def _hammersley(name: str) -> Tensor:
    """`hammersley/32` -> the points; `hammersley/offset_perturbation_32_vs1.5` -> the decoder's buffer."""
    if "offset_perturbation" in name:
        gaussians, size = name.split("perturbation_")[1].split("_vs")
        return offset_perturbation(int(gaussians), float(size))
    count = int(name.split("/")[1])
    points = [[n / count, radical_inverse(2, n), radical_inverse(3, n)] for n in range(count)]
    return torch.tensor(points, dtype=torch.float64)
