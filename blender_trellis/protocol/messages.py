"""Every message that passes between the add-on and the backend, with its fields and their defaults.

The numbers that the interface shows as defaults live here and nowhere else. A message class has at most one
field that holds arrays (a tuple or a dictionary of `Array`).
"""

import dataclasses
import itertools
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PROTOCOL_VERSION = 6

Format = Literal["mesh", "gaussian", "radiance_field"]
Memory = Literal["auto", "keep", "release"]
"""Whether networks leave the graphics card when their stage is over: for want of room, never, always."""
MultiImage = Literal["stochastic", "multidiffusion"]
Background = Literal["auto", "alpha", "remover", "plain", "keep"]
"""How a picture's background goes: by its transparency, else a remover or its plain color; by one of these
alone; or not at all, and the whole picture is what the model sees."""
Input = Literal["pictures", "text"]
EditMode = Literal["replace", "add", "look", "remove"]
"""What becomes of a region: shape and look anew, more beside what is there, the look alone, nothing."""
FinishPreset = Literal["raw", "film", "game", "mobile"]
Symmetry = Literal["off", "auto", "on"]
Material = Literal["matte", "satin", "glossy", "metal"]
Stage = Literal[
    "load",
    "encode",
    "condition",
    "sparse_structure",
    "decode_sparse_structure",
    "structured_latent",
    "decode_gaussian",
    "decode_radiance_field",
    "decode_mesh",
    "extract_mesh",
    "finish_mesh",
    "bake_texture",
]
ResultKind = Literal[
    "preview",
    "structure_latent",
    "voxels",
    "structured_latent",
    "gaussian",
    "radiance_field",
    "mesh",
    "finished_mesh",
    "vertex_colors",
    "cut_out",
]
FailureKind = Literal["bad_input", "missing_model", "out_of_memory", "protocol", "internal", "backend_died"]
Remedy = Literal["", "free_parts", "half_precision"]
"""Memory on automatic, so that parts leave the card between their stages; the torsos in 16 bit."""
Scalar = str | int | float
Buffer = bytes | bytearray | memoryview

ITEM_BYTES = {"u1": 1, "i4": 4, "f4": 4}


class ProtocolError(Exception):
    """One sentence that names what is wrong with a frame or a message.

    `recoverable`: reading can go on. `job`: the one the frame spoke of, "" where it cannot be told.
    """

    def __init__(self, sentence: str, *, recoverable: bool = True, job: str = ""):
        super().__init__(sentence)
        self.recoverable = recoverable
        self.job = job


@dataclass(frozen=True)
class Array:
    """Numbers in C order, little-endian; dtype "u1", "i4" or "f4"; as many bytes as the shape asks for."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer


@dataclass(frozen=True)
class Device:
    """One device that can run the models."""

    name: str  # as `device` of a request takes it: "cpu", "cuda:0", "mps"
    kind: str  # what people call it, such as the card's name
    memory_bytes: int = 0


@dataclass(frozen=True)
class StageInfo:
    """One of a model's sampled stages, and what the model's own pipeline.json sets there."""

    stage: Stage
    steps: int
    cfg_strength: float
    rescale_t: float
    strength: float


@dataclass(frozen=True)
class ModelInfo:
    """What a model takes and gives, its stages in order, and the settings that it does not heed.

    `without_effect`: fields of Generate and SamplingParams -> why, one sentence for an artist.
    """

    name: str
    takes: tuple[Input, ...] = ()
    several_pictures: bool = False  # whether more than one view of an object tells it more
    gives: tuple[Format, ...] = ()
    stages: tuple[StageInfo, ...] = ()
    without_effect: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def stage(self, name: str) -> StageInfo | None:
        """The stage of that name, where the model has it."""
        return next((one for one in self.stages if one.stage == name), None)


@dataclass(frozen=True)
class SamplingParams:
    """How one stage is sampled. None: as the model's own pipeline.json says."""

    steps: int | None = None  # forward passes of the flow; more is slower and finer
    cfg_strength: float | None = None  # how strictly the picture is followed
    cfg_interval: tuple[float, float] | None = None  # times between which guidance acts, within [0, 1]
    rescale_t: float | None = None  # above 1, more of the steps are spent at the noisy end
    strength: float | None = None  # 1 starts from pure noise, less keeps that much of a start latent


@dataclass(frozen=True)
class Finishing:
    """How a mesh is made ready to be used, beside the raw one that edits start from.

    preset: "raw" leaves it as decoded; the others draw its outer surface again, closed, within a budget of
    faces. texture: texels a side of a baked texture, 0 for colours of vertices.
    """

    preset: FinishPreset = "raw"
    faces: int = 0  # at most so many; 0: as the preset says
    watertight: bool = False  # two faces at every edge of a raw mesh too; the other presets see to it
    texture: int = 0
    project_picture: bool = True  # the picture's own pixels go onto what it shows
    symmetry: Symmetry = "off"  # whether they are mirrored onto the far side: where it fits, or always
    delight: bool = False  # soft shading is divided out of the picture
    material: Material = "matte"
    outside: bool = True  # what no view from outside reaches goes
    crumbs: float = 0.01  # parts with less than this share of the largest one's area go


READY_TO_USE = Finishing(preset="game", texture=2048)
"""What the interface and batches ask for unless told otherwise."""


# ---- to the backend ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What every job says: its name, and on which model and how it runs."""

    job: str
    model: str = "starter"
    device: str = "auto"
    precision: str = "auto"
    engine: str = "torch"  # or "compile": torch.compile; or "cuda": its optional libraries
    memory: Memory = "auto"


@dataclass(frozen=True)
class LoadModel(Request):
    """Bring a model into memory. Ends with Loaded, Failed or Cancelled."""


@dataclass(frozen=True)
class Decoded(Request):
    """What every request says whose results are an object; it ends with Finished, Failed or Cancelled."""

    formats: tuple[Format, ...] = ("mesh", "gaussian")
    finishing: Finishing = Finishing()


@dataclass(frozen=True)
class Sampled(Decoded):
    """What every request says that samples the flows."""

    picture_names: tuple[str, ...] = ()  # how messages to people call the pictures
    background: Background = "auto"
    prompt: str = ""
    seed: int = 1
    sparse_structure: SamplingParams = SamplingParams()
    structured_latent: SamplingParams = SamplingParams()
    multi_image: MultiImage = "stochastic"
    preview: bool = False  # whether results of the kind "preview" tell of the shape while it is sampled


@dataclass(frozen=True)
class Generate(Sampled):
    """Make one object; all that generation needs is in here."""

    pictures: tuple[Array, ...] = ()  # u1 (bytes,): each one picture file, several views of the same object
    structure_only: bool = False  # whether it ends with the voxels, for Complete to go on from there


@dataclass(frozen=True)
class OfAsset(Sampled):
    """A request that starts from an asset: one that was generated, or any mesh, which is encoded first.

    arrays: "structure_latent" f4 (C, r, r, r), "occupied" u1 (the bits of the structure's R³ voxels, packed),
    "coords" i4 (L, 3) and "feats" f4 (L, C), as results of these kinds hold them, and what these hold
    besides; or "vertices" f4 (V, 3), "faces" i4 (F, 3) and "colors" f4 (V, 3), sRGB
    in [0, 1]. Pictures are "picture_0", … u1 (bytes,).
    """

    arrays: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    resolution: int = 0  # of coords
    structure_resolution: int = 0  # of occupied, R
    model_hash: str = ""  # of the model that made the latents

    @property
    def pictures(self) -> tuple[Array, ...]:
        """The picture files in their order."""
        return numbered(self.arrays, "picture_{}")


REGION_BOXES, REGION_MESHES = 2000, 500  # of one region, so that its message stays within its limits


@dataclass(frozen=True)
class Edit(OfAsset):
    """Change a region of an asset and keep the rest, bit for bit; the results are the whole new asset.

    boxes: each a matrix of 16 numbers, row by row, that takes the cube [-1, 1]³ into the asset's frame
    [-0.5, 0.5]³; closed meshes are the arrays "region_0_vertices" f4 (V, 3), "region_0_faces" i4 (F, 3), …
    Where the asset is finished, with a texture, "finished_vertices" f4 (V, 3), "finished_faces" i4 (F, 3),
    "finished_uv" f4 (F, 3, 2) and "finished_texture" u1 (S, S, 3): what the edit keeps goes on looking so.
    """

    mode: EditMode = "replace"
    boxes: tuple[tuple[float, ...], ...] = ()
    start: Literal["guide", "asset"] = "guide"  # what less than full strength starts from
    margin: int = 2  # voxels round the region whose surface may adapt
    growth: int = 1  # cells of the structure latent round the region that are sampled too
    jumps: int = 1  # passes of each sampling step, which settle the new part

    @property
    def meshes(self) -> tuple[tuple[Array, Array], ...]:
        """Vertices and faces of the region's closed meshes."""
        vertices = numbered(self.arrays, "region_{}_vertices")
        return tuple(zip(vertices, numbered(self.arrays, "region_{}_faces"), strict=False))


@dataclass(frozen=True)
class Vary(OfAsset):
    """Make a variant of an asset: its look anew on its voxels, or its shape too.

    onto: "asset" gives a whole new asset; "mesh" colours the mesh that was sent, and changes nothing else:
    each vertex, and where its "uv" f4 (F, 3, 2) is among the arrays, a texture of `finishing` too.
    """

    shape: bool = False
    onto: Literal["asset", "mesh"] = "asset"


@dataclass(frozen=True)
class Complete(OfAsset):
    """Make the rest of an object whose structure is there: what Generate makes with the same seed.

    arrays: "structure_latent", as Generate sent it with structure_only, and the pictures.
    """


@dataclass(frozen=True)
class Encode(Decoded):
    """Make an asset of a mesh: its latents and what they decode to. Ends like Generate.

    arrays: "vertices", "faces" and "colors" as in OfAsset.
    """

    arrays: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Finish(Decoded):
    """Finish the mesh of an asset anew. The one result is the finished mesh; ends like Generate.

    arrays: "vertices", "faces" and "colors" as in OfAsset; of its Gaussians, where it has them, "position",
    "f_dc", "opacity", "scale" and "rotation" as results hold them; pictures are "picture_0", …
    """

    arrays: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    picture_names: tuple[str, ...] = ()
    background: Background = "auto"

    @property
    def pictures(self) -> tuple[Array, ...]:
        """The picture files in their order."""
        return numbered(self.arrays, "picture_{}")


def numbered(arrays: Mapping[str, Array], pattern: str) -> tuple[Array, ...]:
    """The arrays named 0, 1, … in the pattern, as many as there are in turn."""
    names = map(pattern.format, range(len(arrays)))
    return tuple(arrays[name] for name in itertools.takewhile(arrays.__contains__, names))


@dataclass(frozen=True)
class CutOut:
    """Show what the model will see of a picture. Answered beside the jobs, with a "cut_out" and Finished.

    pictures: one picture file, u1 (bytes,).
    """

    job: str
    pictures: tuple[Array, ...] = ()
    picture_name: str = "picture"
    background: Background = "auto"


@dataclass(frozen=True)
class Cancel:
    """Give up a job, running or waiting. Nothing happens if it has already ended."""

    job: str


@dataclass(frozen=True)
class Shutdown:
    """Give up all jobs and exit."""


# ---- from the backend --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """The first word of a backend, with the models that lie where it runs."""

    protocol: int
    version: str
    python: str
    torch: str
    devices: tuple[Device, ...] = ()
    models: tuple[ModelInfo, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """The model is in memory: the final message of a LoadModel."""

    job: str
    model: str
    device: str
    precision: str
    model_hash: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """`step` of `steps` of a stage are done; `seconds` since the job began."""

    job: str
    stage: Stage
    step: int
    steps: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """One part of the object, sent as soon as it exists. `formats.py` holds what each kind carries."""

    job: str
    kind: ResultKind
    info: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """All parts have been sent: the final message of a job that makes something."""

    job: str
    seconds: float
    seed: int
    model: str
    model_hash: str = ""
    picture_hash: str = ""


@dataclass(frozen=True)
class Failed:
    """The final message of a job that could not be done: one sentence with the fault and the remedy.

    remedy: a setting of Request that mends it.
    """

    job: str  # "" where an unreadable frame named none
    kind: FailureKind
    message: str
    remedy: Remedy = ""


@dataclass(frozen=True)
class Cancelled:
    """The final message of a job that was cancelled."""

    job: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life every two seconds, also in the middle of a long computation."""

    seconds: float  # since the backend began
    memory_bytes: int = 0
    job: str = ""  # the running one


Making = Generate | Complete | Edit | Vary | Encode | Finish
"""Requests whose results are an asset."""
ToBackend = LoadModel | Making | CutOut | Cancel | Shutdown
FromBackend = Hello | Loaded | Progress | Result | Finished | Failed | Cancelled | Heartbeat
Message = ToBackend | FromBackend
Final = Loaded | Finished | Failed | Cancelled
MESSAGES: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(Message)}
