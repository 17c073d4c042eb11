"""What an edit may not change, compared array by array."""

import numpy as np
import torch

from backend.geometry.region import Region
from backend.representations.mesh import Mesh
from backend.trellis.asset import AssetLatents
from backend.trellis.editing.region import masks_of


def kept_faces(mesh, far: np.ndarray) -> np.ndarray:
    """The corners (F, 3, 9) with colours of faces whose vertices all lie in the far part, in their order."""
    values = np.concatenate([mesh.vertices.numpy(), mesh.colors.numpy(), mesh.normals.numpy()], axis=1)
    inside = far[mesh.faces.numpy()].all(axis=1)
    return values[mesh.faces.numpy()[inside]]


def outside(points: np.ndarray, region: Region, asset: AssetLatents, margin: int) -> np.ndarray:
    """Which points lie more than two fine cubes outside of the region's voxels and their margin."""
    cube = 1 / (4 * asset.resolution)
    grown = masks_of(region, asset, margin).grown.numpy()
    clear = np.ones(len(points), bool)
    for reach in np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3) * (2 * cube + 1e-6):
        cells = np.floor((points + reach + 0.5) * asset.resolution).astype(int).clip(0, asset.resolution - 1)
        clear &= ~grown[cells[:, 0], cells[:, 1], cells[:, 2]]
    return clear


def check_outside(before: dict, asset: AssetLatents, region: Region, after: dict, margin: int) -> int:
    """Latents, voxels, splats and faces outside of the region are those of before, bit for bit; the number of
    faces that were compared.
    """
    masks = masks_of(region, asset, 0)
    edited: AssetLatents = after["asset"]
    assert torch.equal(edited.occupied[~masks.structure], asset.occupied[~masks.structure])
    rows = {tuple(c): n for n, c in enumerate(asset.coords.tolist())}
    out_new = ~masks.voxels[tuple(edited.coords.long().T)]
    out_old = ~masks.voxels[tuple(asset.coords.long().T)]
    assert torch.equal(edited.coords[out_new], asset.coords[out_old])
    assert torch.equal(edited.feats[out_new], asset.feats[out_old])
    grown = masks_of(region, asset, margin).grown
    far = ~grown[tuple(edited.coords.long().T)]
    old = torch.tensor([rows[tuple(c)] for c in edited.coords[far].tolist()], dtype=torch.long)
    for name in ("position", "color_dc", "opacity", "scale", "rotation"):
        now, then = getattr(after["gaussian"], name), getattr(before["gaussian"], name)
        now, then = now.unflatten(0, (len(edited.coords), -1)), then.unflatten(0, (len(asset.coords), -1))
        assert torch.equal(now[far], then[old])
    for name in ("trivec", "density", "features_dc") if "radiance_field" in before else ():
        assert torch.equal(
            getattr(after["radiance_field"], name)[far], getattr(before["radiance_field"], name)[old]
        )
    faces = [
        kept_faces(one["mesh"], outside(one["mesh"].vertices.numpy(), region, asset, margin))
        for one in (before, after)
    ]
    assert np.array_equal(*faces)
    return len(faces[0])


def open_edges(mesh: Mesh) -> np.ndarray:
    """The ends (E, 2, 3) of edges with one face that do not lie on the border of the mesh's grid; no edge may
    have more than two faces.
    """
    edges = np.sort(mesh.faces.numpy()[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    pairs, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() <= 2
    ends = mesh.vertices.numpy()[pairs[counts == 1]]
    return ends[(np.abs(ends) < 0.5 - 1 / 32).all(axis=(1, 2))]
