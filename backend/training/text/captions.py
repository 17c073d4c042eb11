"""Short English phrases for catalogued objects, from what their authors called them and from their colours.

"bed_single_A" of the family "bed" is a bed and a single bed; a brown one is a brown bed as well.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from backend.geometry.mesh_files import Asset, Entry

TEMPLATES = (
    "{article} {words}",
    "{words}",
    "{article} low-poly {words}",
    "the {words}",
    "a 3D model of {article} {words}",
    "a stylized {words}",
    "{article} {words}, game asset",
    "one single {words}",
)
COLORS = {
    "red": (200, 40, 35),
    "orange": (235, 130, 40),
    "yellow": (240, 210, 60),
    "green": (70, 150, 60),
    "blue": (50, 95, 200),
    "purple": (125, 65, 165),
    "pink": (240, 140, 175),
    "brown": (125, 80, 50),
    "beige": (215, 185, 145),
    "white": (240, 240, 240),
    "gray": (135, 135, 140),
    "black": (30, 30, 32),
}
_EMPTY = frozenset(
    "transformed gltf glb mat lvl level firstage secondage thirdage obj fbx mesh model low poly nomorph"
    " vertcolor animated posed google of the and with w".split()
)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Names:
    """kind: the family's name. words: the kind with what tells this object from others of it."""

    kind: str
    words: str


def names(entry: Entry) -> Names:
    """From the entry's family and title; its file's name where the catalogue has neither."""
    title = _words(entry.title or entry.name)
    kind = _words(entry.family) or title or ["object"]
    # The title's plural or compound form of a word of the kind says nothing new.
    rest = [word for word in title if not any(word.startswith(k) or k.startswith(word) for k in kind)]
    return Names(" ".join(_ordered(kind)), " ".join([*dict.fromkeys(rest), *_ordered(kind)]))


def known_words(entries: Sequence[Entry]) -> list[str]:
    """The nouns that name the objects, those of most objects first.

    They are the last words of the kinds, without those that name no object, which are listed in texts/.
    """
    others = (Path(__file__).parents[1] / "texts" / "no_objects.txt").read_text(encoding="utf-8").split()
    heads = Counter(names(entry).kind.rpartition(" ")[2] for entry in entries)
    return [word for word, _ in heads.most_common() if len(word) > 2 and word not in others]


def phrase(words: str, number: int) -> str:
    """Words in the template of that number: "an apple", "a 3D model of an apple"."""
    article = "an" if words[:1] in "aeiou" else "a"
    return TEMPLATES[number % len(TEMPLATES)].format(article=article, words=words)


def dominant_color(asset: Asset) -> tuple[str, np.ndarray]:
    """The name of the colour that most of the surface has, and which corners (F, 3) have it."""
    corners = asset.vertices[asset.faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    nearest = _nearest(asset.corner_colors)
    shares = np.bincount(nearest.ravel(), np.repeat(areas + 1e-12, 3), minlength=len(COLORS))
    most = int(shares.argmax())
    return list(COLORS)[most], nearest == most


def painted(asset: Asset, corners: np.ndarray, color: str) -> Asset:
    """Those corners (F, 3) in the named colour, light and dark as they were."""
    light = asset.corner_colors[corners].astype(np.float64).mean(-1, keepdims=True)
    shade = np.clip(light / max(float(light.mean()), 1.0), 0.5, 1.5)
    colors = asset.corner_colors.copy()
    colors[corners] = np.clip(np.array(COLORS[color]) * shade, 0, 255).astype(np.uint8)
    return Asset(asset.vertices, asset.faces, colors, asset.smooth)


def _nearest(colors: np.ndarray) -> np.ndarray:
    """Numbers of the named colours nearest to (..., 3) u8; hue counts more than lightness."""
    table = _opponent(np.array(list(COLORS.values()), np.float64))
    return cKDTree(table).query(_opponent(colors.astype(np.float64)))[1]


def _opponent(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) -> half the lightness, red against green, yellow against blue."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return np.stack([(red + green + blue) / 6, red - green, (red + green) / 2 - blue], axis=-1)


def _words(text: str) -> list[str]:
    """Lower-case words; numbers, single letters and words of the trade are left out."""
    found = (part.lower() for part in _PARTS.findall(text))
    return [word for word in found if len(word) > 1 and word not in _EMPTY]


def _ordered(kind: Sequence[str]) -> list[str]:
    """What is said of a thing stands before it: "tree pine" is a pine tree."""
    heads = {"tree", "building", "banner", "bottle", "table", "fish", "car", "house", "rock", "chair"}
    first = kind[0] if kind else ""
    return [*kind[1:], first] if first in heads else list(kind)
