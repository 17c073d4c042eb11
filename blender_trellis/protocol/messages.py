"""Every message that passes between the add-on and the backend, with its fields and their defaults.

The numbers that the interface shows as defaults live here and nowhere else. A message class has at most one
field that holds arrays (a tuple or a dictionary of `Array`).
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PROTOCOL_VERSION = 2

Format = Literal["mesh", "gaussian", "radiance_field"]
Memory = Literal["auto", "keep", "release"]
"""Whether networks leave the graphics card when their stage is over: for want of room, never, always."""
MultiImage = Literal["stochastic", "multidiffusion"]
Input = Literal["pictures", "text"]
Stage = Literal[
    "load",
    "condition",
    "sparse_structure",
    "decode_sparse_structure",
    "structured_latent",
    "decode_gaussian",
    "decode_radiance_field",
    "decode_mesh",
    "extract_mesh",
]
ResultKind = Literal["structure_latent", "voxels", "structured_latent", "gaussian", "radiance_field", "mesh"]
FailureKind = Literal["bad_input", "missing_model", "out_of_memory", "protocol", "internal", "backend_died"]
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


# ---- to the backend ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadModel:
    """Bring a model into memory. Ends with Loaded, Failed or Cancelled."""

    job: str
    model: str = "starter"
    device: str = "auto"
    precision: str = "auto"
    engine: str = "torch"  # or "cuda": its optional libraries
    memory: Memory = "auto"


@dataclass(frozen=True)
class Generate:
    """Make one object; all that generation needs is in here. Ends with Finished, Failed or Cancelled."""

    job: str
    model: str = "starter"
    device: str = "auto"
    precision: str = "auto"
    pictures: tuple[Array, ...] = ()  # u1 (bytes,): each one picture file, several views of the same object
    picture_names: tuple[str, ...] = ()  # how messages to people call them
    prompt: str = ""
    seed: int = 1
    sparse_structure: SamplingParams = SamplingParams()
    structured_latent: SamplingParams = SamplingParams()
    formats: tuple[Format, ...] = ("mesh", "gaussian")
    multi_image: MultiImage = "stochastic"
    engine: str = "torch"
    memory: Memory = "auto"


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
    """One part of the object, sent as soon as it exists. `results.py` holds what each kind must carry."""

    job: str
    kind: ResultKind
    info: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, Array] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """All parts have been sent: the final message of a Generate."""

    job: str
    seconds: float
    seed: int
    model: str
    model_hash: str = ""
    picture_hash: str = ""


@dataclass(frozen=True)
class Failed:
    """The final message of a job that could not be done: one sentence with the fault and the remedy."""

    job: str  # "" where an unreadable frame named none
    kind: FailureKind
    message: str


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


ToBackend = LoadModel | Generate | Cancel | Shutdown
FromBackend = Hello | Loaded | Progress | Result | Finished | Failed | Cancelled | Heartbeat
Message = ToBackend | FromBackend
Final = Loaded | Finished | Failed | Cancelled
MESSAGES: dict[str, type] = {kind.__name__: kind for kind in typing.get_args(Message)}
