"""What can be told of a result without a true shape: whether it looks like its picture, and is a surface."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from backend.background import remove_background
from backend.encoding.latent_encoders import is_view_aligned
from backend.errors import UserError
from backend.evaluation.prediction import Prediction, placed, reconstruct
from backend.evaluation.scores import Scores, mean_scores
from backend.geometry.render import Picture
from backend.geometry.views import View
from backend.geometry.voxelize import boundary
from backend.image import cut_out, on_black, open_picture
from backend.measures.comparison import iou
from backend.measures.outline import USUAL, color_error, cropped, gaussian_picture, mesh_picture, outline_iou
from backend.measures.soundness import soundness
from backend.trellis.networks import Networks

OUTLINES = ("outline_structure", "outline_gaussians", "outline_mesh")
SIGHT_KEYS = (*OUTLINES, "color_error", "parts", "genus", "seen")
_LOWER_IS_BETTER = ("chamfer", "seconds", "color_error", "parts", "genus")


def sight(prediction: Prediction, given: Image.Image, view: View = USUAL) -> Scores:
    """Every key of SIGHT_KEYS, of a result and the picture it was made from, as cut out."""
    alpha = np.asarray(given.getchannel("A"), np.float32) / 255
    picture = cropped(Picture(np.asarray(on_black(given), np.float32) / 255, alpha))
    meshes = [mesh_picture(one, view) for one in (boundary(prediction.occupied), prediction.mesh)]
    splats = None if prediction.gaussians is None else gaussian_picture(prediction.gaussians, view)
    outlines = [0.0 if one is None else outline_iou(one, picture) for one in (meshes[0], splats, meshes[1])]
    return {
        **dict(zip(OUTLINES, outlines, strict=True)),
        "color_error": None if splats is None else color_error(splats, picture),
        **asdict(soundness(prediction.mesh.vertices, prediction.mesh.faces)),
    }


def over_seeds(scores: Sequence[Scores], made: Sequence[Prediction]) -> dict[str, Scores]:
    """One picture's scores with several seeds: their mean, key by key the best, and how far they differ.

    The differences end with the mean IoU of two seeds' structures, of the farther halves of these, and of
    their outlines from the picture's side.
    """
    best, spread = Scores(), Scores()
    for key in scores[0]:
        known = [number for one in scores if (number := one[key]) is not None]
        best[key] = spread[key] = None
        if known:
            best[key] = min(known) if key in _LOWER_IS_BETTER else max(known)
            spread[key] = max(known) - min(known)
    alike: list[tuple[float, ...]] = []
    for a, b in combinations([one.occupied for one in made], 2):
        half = a.shape[1] // 2
        outlines = [mesh_picture(boundary(one)) for one in (a, b)]
        alike.append((iou(a, b), iou(a[:, half:], b[:, half:]), outline_iou(*outlines)))
    if alike:
        names = ("alike", "alike_behind", "alike_outline")
        spread |= zip(names, np.mean(alike, axis=0).tolist(), strict=True)
    return {"starter": mean_scores(scores), "best": best, "spread": spread}


def evaluate_pictures(
    pipeline: Networks, folder: Path, seeds: Sequence[int], on_fault: Callable[[str], None]
) -> list[tuple[str, dict[str, Scores]]]:
    """Names and scores, as of `over_seeds`, of all pictures of a folder.

    One that cannot be read is reported and left out. Raises UserError where none is left, and for a model
    that does not turn objects as their pictures show them.
    """
    if not is_view_aligned(pipeline.folder):
        raise UserError(f"{pipeline.folder.name} makes objects in a frame of their own; give --meshes.")
    results = []
    for path in sorted(one for one in folder.glob("*") if one.is_file()):
        try:
            picture = cut_out(open_picture(path, path.name), remove_background)
        except UserError as error:
            on_fault(f"{path.name}: {error}")
            continue
        made = [placed(one, None, one.seconds) for one in (reconstruct(pipeline, picture, n) for n in seeds)]
        scores = [{**sight(one, picture), "seconds": one.seconds} for one in made]
        results.append((path.name, over_seeds(scores, made)))
    if not results:
        raise UserError(f"No picture of {folder} could be used; give a folder of pictures.")
    return results
