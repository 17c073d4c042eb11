"""What the sidebar lets people set, kept on the scene, and the request that it makes.

Defaults are those of the protocol's messages; a stage's own settings act only where they are switched on.
"""

import secrets

import bpy

from ..backend_settings import BackendSettings
from ..jobs import session
from ..picture_source import Picture, read_image, read_picture
from ..protocol import Array, Generate, SamplingParams

DEFAULTS = Generate(job="")
SEED_MAX = 2**31 - 1


def _search_models(settings, context, typed: str):
    return [name for name in session.known_models() if typed.lower() in name.lower()]


class TrellisStageSettings(bpy.types.PropertyGroup):
    """How one of the two stages is sampled."""

    use_custom: bpy.props.BoolProperty(
        name="Own Settings",
        description="Use these numbers instead of those that the model comes with",
        default=False,
    )
    steps: bpy.props.IntProperty(
        name="Steps",
        description="Sampling steps: more take longer and give finer results",
        default=25,
        min=1,
        max=1000,
        soft_max=50,
    )
    cfg_strength: bpy.props.FloatProperty(
        name="Guidance",
        description="How strictly the picture is followed; 0 switches guidance off",
        default=5.0,
        min=0.0,
        max=100.0,
        soft_max=10.0,
    )

    def to_params(self) -> SamplingParams:
        """As the protocol has it."""
        if not self.use_custom:
            return SamplingParams()
        return SamplingParams(steps=self.steps, cfg_strength=round(self.cfg_strength, 4))


class TrellisSettings(bpy.types.PropertyGroup):
    """Everything that one generation needs."""

    source: bpy.props.EnumProperty(
        name="Picture From",
        items=(
            ("FILE", "File", "A picture file"),
            ("IMAGE", "Image", "An image that is open in this Blender file"),
        ),
        default="FILE",
    )
    picture: bpy.props.StringProperty(
        name="Picture",
        description="Picture of one object; best with a transparent or plain background",
        subtype="FILE_PATH",
    )
    image: bpy.props.PointerProperty(
        name="Image",
        description="Picture of one object; best with a transparent or plain background",
        type=bpy.types.Image,
    )
    prompt: bpy.props.StringProperty(
        name="Prompt", description="The object in words, for models that take text", default=DEFAULTS.prompt
    )
    model: bpy.props.StringProperty(
        name="Model",
        description="Name of a model, or its folder",
        default=DEFAULTS.model,
        search=_search_models,
        search_options={"SUGGESTION"},
    )
    seed: bpy.props.IntProperty(
        name="Seed",
        description="The same seed and settings give the same result",
        default=DEFAULTS.seed,
        min=0,
        max=SEED_MAX,
    )
    use_random_seed: bpy.props.BoolProperty(
        name="Random Seed", description="Draw a new seed for every generation", default=False
    )
    sparse_structure: bpy.props.PointerProperty(type=TrellisStageSettings)
    structured_latent: bpy.props.PointerProperty(type=TrellisStageSettings)
    formats: bpy.props.EnumProperty(
        name="Output",
        items=(
            ("mesh", "Mesh", "A mesh with vertex colors"),
            ("gaussian", "Gaussians", "Gaussian splats, as points with attributes"),
        ),
        options={"ENUM_FLAG"},
        default=set(DEFAULTS.formats),
    )

    def takes_text(self) -> bool:
        """Whether the model is one that takes words instead of a picture."""
        return session.takes_text(self.model)

    def missing(self) -> str:
        """What is still to be chosen before anything can be generated; empty when nothing is."""
        if not self.formats:
            return "Choose at least one output"
        if self.takes_text():
            return "" if self.prompt.strip() else "Describe the object in the prompt"
        chosen = self.picture if self.source == "FILE" else self.image
        return "" if chosen else "Choose a picture"

    def read_pictures(self) -> tuple[Picture, ...]:
        """The chosen picture's bytes, none where the model takes text. Raises Fault."""
        if self.takes_text():
            return ()
        if self.source == "IMAGE" and self.image is not None:
            return (read_image(self.image),)
        return (read_picture(bpy.path.abspath(self.picture)),)

    def draw_seed(self) -> None:
        """Puts a new seed in place if that is wanted: in the field, so that it can be used again."""
        if self.use_random_seed:
            self.seed = secrets.randbelow(SEED_MAX)

    def to_request(self, pictures: tuple[Picture, ...], backend: BackendSettings) -> Generate:
        """The message that asks for what is set here; who sends it names the job."""
        return Generate(
            job="",
            model=self.model,
            device=backend.device,
            precision=backend.precision,
            engine=backend.engine,
            pictures=tuple(Array("u1", (len(picture.data),), picture.data) for picture in pictures),
            picture_names=tuple(picture.name for picture in pictures),
            prompt=self.prompt if self.takes_text() else "",
            seed=self.seed,
            sparse_structure=self.sparse_structure.to_params(),
            structured_latent=self.structured_latent.to_params(),
            formats=tuple(kind for kind in ("mesh", "gaussian") if kind in self.formats),
        )


CLASSES = (TrellisStageSettings, TrellisSettings)
