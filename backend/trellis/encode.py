"""Turns any mesh into the latents of an asset, as if the model had made it: with them it can be edited.

What decodes from the latents is a twin of the mesh, not the mesh: voxels and a few numbers a voxel hold it.
V vertices · F faces · L voxels · C channels · R resolution.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.checkpoints.find_model import models_folder
from backend.encoding.latent_encoders import LatentEncoder, StructureEncoder, is_view_aligned
from backend.encoding.view_features import averaged_features
from backend.errors import UserError
from backend.geometry.mesh_files import Asset
from backend.geometry.scene import Scene, pooled_occupancy
from backend.geometry.views import LONGEST_SIDE, feature_views, fixed_view
from backend.geometry.voxelize import sampled_occupancy, voxelize
from backend.lifting.mesh_features import voxel_features
from backend.lifting.surface import FEATURES
from backend.models.dinov2 import DinoV2, load_image_encoder
from backend.trellis.asset import AssetLatents
from backend.trellis.decoding import ROLES, STAGES, Report, Voxels, decode, silent
from backend.trellis.networks import Networks
from backend.trellis.stages import Output, Step
from blender_trellis.protocol import Stage

MOST_FACES = 2_000_000
"""Of a mesh: more take long and show nothing more in voxels."""
MOST_VOXELS = 32_768
"""Of the largest objects that the published models were trained on."""
VIEWS_ON_A_GPU, VIEWS_ON_A_PROCESSOR = 150, 24
"""Whose features the published encoder reads: 150 as published; a processor takes seconds for each."""
STAGE: Stage = "encode"
"""What encoding reports as."""
_FLAT = 1e-4
_CALM = fixed_view(0.0, 0.3, 0.65)


@dataclass(frozen=True)
class Frame:
    """Where the unit cube [-0.5, 0.5]³ of an asset lies: world = unit · scale + offset."""

    scale: float
    offset: tuple[float, float, float]

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) of the asset -> (N, 3) where the mesh was."""
        return points * self.scale + np.array(self.offset)

    def to_unit(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) of the mesh -> (N, 3) of the asset."""
        return (points - np.array(self.offset)) / self.scale


def encode_mesh(
    networks: Networks,
    vertices: np.ndarray,
    faces: np.ndarray,
    colors: np.ndarray,
    report: Report = silent,
) -> tuple[AssetLatents, Frame]:
    """Latents of a mesh, and where its unit cube lies.

    vertices (V, 3), Z up, front −Y · faces (F, 3) · colors sRGB in [0, 1], (V, 3) or of face corners
    (F, 3, 3). Raises UserError for a mesh that is none, flat or too large, and MissingModel where the folder
    has no encoders.
    """
    check_mesh(vertices, faces, colors)
    report(STAGE, 0, 1)
    aligned = is_view_aligned(networks.folder)
    # A view-aligned model's mesh grid ends at the cube's border, and its objects stop short of it.
    frame = frame_of(vertices[np.unique(faces)], LONGEST_SIDE if aligned else 1.0)
    corners = colors if colors.ndim == 3 else colors[faces]
    mesh = Asset(
        frame.to_unit(vertices.astype(np.float64)),
        np.ascontiguousarray(faces, dtype=np.int32),
        (np.clip(corners, 0, 1) * 255).round().astype(np.uint8),
        np.zeros(len(faces), bool),
    )
    structure = StructureEncoder(networks.folder, networks.device)
    occupied = _occupancy(mesh, structure.resolution, aligned)
    latent = structure(occupied)[None]
    report(STAGE, 0, 1)
    coords, feats, resolution = (_by_distances if aligned else _by_views)(networks, mesh, occupied, report)
    report(STAGE, 1, 1)
    folder = networks.folder
    return AssetLatents(
        latent, torch.from_numpy(occupied), coords, feats, resolution, folder.name, folder.hash
    ), frame


def decode_asset(
    networks: Networks, asset: AssetLatents, formats: Sequence[str], report: Report = silent
) -> Iterator[Step | Output]:
    """Outputs of the same kinds as `generate`, of an asset as it is: of an encoded mesh, its twin."""
    asset = asset.to(networks.device)
    yield Output("structure_latent", asset.structure_latent)
    yield Output("voxels", Voxels(asset.coords, asset.resolution, asset.occupied))
    yield Output("structured_latent", asset.latent)
    for kind in ROLES:
        if kind in formats:
            yield Step(STAGES[kind], 0, 1)
            yield Output(kind, decode(networks, kind, asset.latent, report))
            yield Step(STAGES[kind], 1, 1)


def check_mesh(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> None:
    """Raises UserError that says what keeps a mesh from being encoded, and what to do."""
    if len(faces) == 0:
        raise UserError("The mesh has no faces; choose an object with a surface.")
    if len(faces) > MOST_FACES:
        raise UserError(
            f"The mesh has {len(faces):,} triangles, and {MOST_FACES:,} are the most that are encoded;"
            " reduce it with a Decimate modifier first."
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise UserError("The mesh names vertices that it does not have; export it again.")
    if not np.isfinite(vertices).all():
        raise UserError("The mesh has coordinates that are not finite numbers; repair it first.")
    if not np.isfinite(colors).all():
        raise UserError("The mesh has colours that are not finite numbers; repair it first.")
    points = vertices[np.unique(faces)].astype(np.float64)
    low, high = points.min(0), points.max(0)
    longest = float((high - low).max())
    if longest == 0:
        raise UserError("All vertices of the mesh are in one place; choose an object with a size.")
    points = (points - (low + high) / 2) / longest
    _, directions = np.linalg.eigh(points.T @ points)
    if np.ptp(points @ directions[:, 0]) < _FLAT:
        raise UserError("The mesh is flat; give it a thickness, for example with a Solidify modifier.")


def frame_of(points: np.ndarray, longest: float) -> Frame:
    """The frame in which points (N, 3) are centred and their longest side is so long."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    x, y, z = ((low + high) / 2).tolist()
    return Frame(float((high - low).max()) / longest, (x, y, z))


def _occupancy(mesh: Asset, resolution: int, aligned: bool) -> np.ndarray:
    """(R, R, R) bool: the voxels on the surface, found as the model's training found them."""
    if aligned:
        return sampled_occupancy(mesh.vertices, mesh.faces, resolution)
    occupied = np.zeros((resolution,) * 3, bool)
    occupied[tuple(voxelize(mesh.vertices, mesh.faces, resolution, normalise=False).T)] = True
    return occupied


def _by_distances(
    networks: Networks, mesh: Asset, occupied: np.ndarray, report: Report
) -> tuple[Tensor, Tensor, int]:
    """Latents of distances and colours: coords (L, 3) i32, feats (L, C), their resolution."""
    encoder = LatentEncoder(networks.folder, networks.device, FEATURES)
    coords = _coords(occupied, encoder.resolution)
    scene = Scene("mesh", mesh.vertices, mesh.faces, mesh.corner_colors, mesh.smooth, _CALM)
    features = torch.from_numpy(voxel_features(scene, coords, encoder.resolution))
    report(STAGE, 0, 1)
    return _encoded(encoder, coords, features)


def _by_views(
    networks: Networks, mesh: Asset, occupied: np.ndarray, report: Report
) -> tuple[Tensor, Tensor, int]:
    """Latents of what DINOv2 sees of the mesh from all sides: coords (L, 3) i32, feats (L, C), resolution."""
    dinov2 = _picture_encoder(networks)
    encoder = LatentEncoder(networks.folder, networks.device, dinov2.config.embed_dim)
    coords = _coords(occupied, encoder.resolution)
    if len(coords) > MOST_VOXELS:
        raise UserError(
            f"The mesh takes {len(coords):,} voxels, and {MOST_VOXELS:,} are the most that this model holds;"
            " choose an object with less surface."
        )
    count = VIEWS_ON_A_PROCESSOR if networks.device.type == "cpu" else VIEWS_ON_A_GPU
    views = feature_views(count, np.random.default_rng(0))
    features = averaged_features(
        dinov2, mesh, coords, encoder.resolution, views, lambda done: report(STAGE, done, count)
    )
    return _encoded(encoder, coords, features)


def _picture_encoder(networks: Networks) -> DinoV2:
    """The one whose features the published structured latent is made of, also in text models."""
    networks.begin("condition")
    if isinstance(networks.conditioner.encoder, DinoV2):
        return networks.conditioner.encoder
    folder = networks.folder.path
    return load_image_encoder(folder, "dinov2_vitl14_reg", (models_folder(),)).to(networks.device)


def _coords(occupied: np.ndarray, resolution: int) -> np.ndarray:
    return np.argwhere(pooled_occupancy(occupied, resolution)).astype(np.int32)


def _encoded(encoder: LatentEncoder, coords: np.ndarray, features: Tensor) -> tuple[Tensor, Tensor, int]:
    feats = encoder(coords, features) * encoder.std + encoder.mean
    return torch.from_numpy(coords), feats, encoder.resolution
