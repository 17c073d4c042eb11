"""The one table of what can be made of an object: what people call it, what arrays it comes in, what file.

A new format is a line here and in the `Format` of messages.py, how it is decoded in the backend's
trellis/decoding.py and described in trellis/outputs.py, a writer of its file in backend/generate.py, and an
object in blender_trellis/scene.

L voxels · C channels · r cells of the structure latent · V vertices · F faces · N Gaussians or boxes of the
radiance field.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Layout = tuple[str, tuple[str | int, ...]]
"""The kind of numbers and the shape; a letter is one length wherever it appears, "…" any further axes."""


@dataclass(frozen=True)
class OutputFormat:
    """`component` of pipeline.json decodes it; `suffix` is of the file that the engine writes."""

    label: str
    description: str
    suffix: str
    component: str
    arrays: Mapping[str, Layout]
    in_blender: bool = True  # whether the add-on makes an object of it


FORMATS: dict[str, OutputFormat] = {
    "mesh": OutputFormat(
        "Mesh",
        "A mesh with vertex colors",
        ".glb",
        "slat_decoder_mesh",
        {
            "vertices": ("f4", ("V", 3)),
            "faces": ("i4", ("F", 3)),
            "colors": ("f4", ("V", 3)),  # sRGB in [0, 1]
            "keys": ("i4", ("V",)),
        },
    ),
    "gaussian": OutputFormat(
        "Gaussians",
        "Gaussian splats, as points with attributes",
        ".ply",
        "slat_decoder_gs",
        {
            "position": ("f4", ("N", 3)),
            "f_dc": ("f4", ("N", 3)),
            "opacity": ("f4", ("N", 1)),  # logit
            "scale": ("f4", ("N", 3)),  # log
            "rotation": ("f4", ("N", 4)),  # unit quaternion w, x, y, z
            "keys": ("i4", ("N",)),
        },
    ),
    "radiance_field": OutputFormat(
        "Radiance Field",
        "Boxes of low-rank color and density",
        ".radiance_field.safetensors",
        "slat_decoder_rf",
        {
            "position": ("f4", ("N", 3)),
            "trivec": ("f4", ("N", "…")),
            "density": ("f4", ("N", "…")),
            "features_dc": ("f4", ("N", "…")),
        },
        in_blender=False,
    ),
}

OF_FILE = {one.suffix.removeprefix("."): name for name, one in FORMATS.items() if one.in_blender}
"""What has to be made for a file: commands take either name, such as glb for mesh."""

_VOXELS: Mapping[str, Layout] = {"coords": ("i4", ("L", 3)), "occupied": ("u1", ("B",))}

ARRAYS: dict[str, Mapping[str, Layout]] = {
    "preview": _VOXELS,  # of the estimate after a step of the first stage
    "structure_latent": {"latent": ("f4", ("C", "r", "r", "r"))},
    "voxels": _VOXELS,
    "structured_latent": {"coords": ("i4", ("L", 3)), "feats": ("f4", ("L", "C"))},
    "finished_mesh": {
        "vertices": ("f4", ("V", 3)),
        "faces": ("i4", ("F", 3)),
        "colors": ("f4", ("V", 3)),  # sRGB in [0, 1]
    },
    "vertex_colors": {"colors": ("f4", ("V", 3))},  # of the mesh that was sent, sRGB in [0, 1]
    "cut_out": {"pixels": ("u1", ("S", "S", 3))},  # on the model's background, sRGB, the first row on top
    **{name: one.arrays for name, one in FORMATS.items()},
}
"""The arrays of every kind of result. keys: names of an asset's vertices or Gaussians, the same before and
after an edit; occupied: the bits of the structure, packed.
"""

BESIDES: dict[str, tuple[Mapping[str, Layout], ...]] = {
    "structured_latent": (
        {
            "source": ("u1", ("L", 2)),
            "layer_sizes": ("i4", ("K",)),
            "layer_coords": ("i4", ("M", 3)),
            "layer_feats": ("f4", ("M", "C")),
        },
        {"outline_alpha": ("u1", ("O", "S", "S")), "outline_view": ("f4", ("O", 5))},
        {"within": ("u1", ("B",))},
    ),
    "vertex_colors": ({"texture": ("u1", ("S", "S", 3))},),  # on the coordinates that were sent
    "mesh": ({"kept": ("u1", ("V",))},),
    "gaussian": ({"kept": ("u1", ("N",))},),
    "finished_mesh": (
        {
            "uv": ("f4", ("F", 3, 2)),  # of each corner of a face, from the image's lower left
            "texture": ("u1", ("S", "S", 3)),  # sRGB, the first row on top
        },
    ),
}
"""What results may hold besides, of each group all or nothing.

An edited asset's layers are former latents one after the other; source says which of them the shape and the
colours of a voxel are decoded of: the number of layers stands for the latents that are there now.
Outlines of pictures, which what is decoded keeps to, are those of the layers and then of the latents that are
there now; alpha is 255 all over where there is none. A view is elevation and width in degrees, scale, shift.
within: of an edited asset that is solid, the bits of the voxels inside it beside its own, packed.
kept: 1 where a vertex or Gaussian is that of the asset as it was before an edit.
"""
