"""Where the result of a job goes: it is said when the job begins, and waits with it."""

from dataclasses import dataclass

from ..scene.asset_marking import AssetMarks
from ..scene.standing import Standing


@dataclass(frozen=True)
class Placement:
    """A new asset called `name`, or the change of one that is there.

    edits: the id of the asset that an edit changes, "" for a new one. keeps_former: whether the version
    before stays, hidden. scene: the session_uid of the scene that a new one goes into, where a window shows
    it; else it goes into the one that is open. matrix: 16 numbers, row by row, that take the asset's frame
    into the world, or that of the mesh that was encoded; None for a new asset, which goes where `standing`
    says. candidate: its number where a structure is made to choose from, which goes into no scene. history:
    of the asset that a new one was made from, as its property trellis_history holds it. finishes: the id of
    the asset that gets a finished mesh; finished_from: the fingerprint of the latents that it had then.
    recolors: the objects whose meshes get the colours that come instead of an asset, and how many vertices
    of each were sent; recolored_uids: of each object its session_uid; recolored_scene: that of the scene
    that was open, and recolored_file its path.
    """

    name: str
    edits: str = ""
    keeps_former: bool = False
    scene: int = 0
    matrix: tuple[float, ...] | None = None
    standing: Standing = Standing()
    candidate: int = 0
    marks: AssetMarks | None = None  # how a new asset is marked for the Asset Browser
    history: str = ""
    finishes: str = ""
    finished_from: str = ""
    recolors: tuple[tuple[str, int], ...] = ()
    recolored_uids: tuple[int, ...] = ()
    recolored_scene: int = 0
    recolored_file: str = ""
