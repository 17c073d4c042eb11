"""A textured mesh as .obj beside its material (.mtl) and image: z turned up to y, as most readers expect."""

import io
from pathlib import Path

import numpy as np
import torch

from backend.files import write_bytes
from backend.representations.glb import Place, image_bytes, to_y_up
from backend.representations.mesh import TexturedMesh

_MATERIAL = """newmtl texture
Kd 1 1 1
Ks 0 0 0
Pr {roughness:g}
Pm {metallic:g}
map_Kd {image}
"""


def write_obj(path: Path, mesh: TexturedMesh, place: Place = (0.0, 0.0, 0.0)) -> list[Path]:
    """Write NAME.obj, NAME.mtl and NAME.png; the paths of the three. The mesh stands at `place`, z up."""
    material, image = path.with_suffix(".mtl"), path.with_suffix(".png")
    write_bytes(image, image_bytes(mesh.image, "png"))
    described = _MATERIAL.format(roughness=mesh.roughness, metallic=mesh.metallic, image=image.name)
    write_bytes(material, described.encode(errors="surrogateescape"))  # names of files may be no text
    text = io.StringIO()
    text.write(f"mtllib {material.name}\nusemtl texture\n")
    vertices, digits = mesh.vertices, 9  # all that single precision holds
    if any(place):
        vertices, digits = vertices.double() + vertices.new_tensor(place, dtype=torch.float64), 12
    for kind, values in (("v", to_y_up(vertices)), ("vt", mesh.uv), ("vn", to_y_up(mesh.normals))):
        rows = values.detach().cpu().numpy()
        np.savetxt(text, rows, fmt=kind + f" %.{digits if kind == 'v' else 9}g" * rows.shape[1])
    numbers = np.repeat(mesh.faces.cpu().numpy() + 1, 3, axis=1)
    np.savetxt(text, numbers, fmt="f %d/%d/%d %d/%d/%d %d/%d/%d")
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"))
    return [path, material, image]
