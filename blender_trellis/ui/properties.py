"""What the sidebar lets people set, kept on the scene, and the request that it makes.

Defaults are those of the protocol's messages, of a stage those of the chosen model; a stage's own settings
act only where they are switched on.
"""

import secrets

import bpy

from ..backend_settings import BackendSettings
from ..jobs import session
from ..jobs.candidates import MOST
from ..picture_source import Picture
from ..protocol import FORMATS, Array, Generate, Input, SamplingParams, StageInfo
from ..scene.standing import Standing
from .finish.settings import TrellisFinishSettings
from .input.cut_out import refresh_cut_out
from .input.pictures import TrellisPicture, active_picture, put_picture
from .marks.settings import TrellisMarkSettings
from .region import settings as region_settings
from .region.settings import TrellisRegionSettings
from .vary import settings as vary_settings
from .vary.settings import TrellisVarySettings

DEFAULTS = Generate(job="")
SEED_MAX = 2**31 - 1
IN_BLENDER = {name: one for name, one in FORMATS.items() if one.in_blender}


def _search_models(settings, context, typed: str):
    return [one.name for one in session.known_models() if typed.lower() in one.name.lower()]


class TrellisStageSettings(bpy.types.PropertyGroup):
    """How one of the two stages is sampled. A number that nobody has set is the chosen model's own."""

    own_steps: bpy.props.IntProperty(default=0, options={"HIDDEN"})  # 0: not set
    own_cfg_strength: bpy.props.FloatProperty(default=-1.0, options={"HIDDEN"})  # below 0: not set

    use_custom: bpy.props.BoolProperty(
        name="Own Settings",
        description="Use these numbers instead of those that the model comes with",
        default=False,
    )
    steps: bpy.props.IntProperty(
        name="Steps",
        description="Sampling steps: more take longer and give finer results",
        get=lambda self: self.own_steps or getattr(self.of_model(), "steps", 1),
        set=lambda self, value: setattr(self, "own_steps", value),
        min=1,
        max=1000,
        soft_max=50,
    )
    cfg_strength: bpy.props.FloatProperty(
        name="Guidance",
        description="How strictly the picture is followed; 0 switches guidance off",
        get=lambda self: (
            self.own_cfg_strength
            if self.own_cfg_strength >= 0
            else max(getattr(self.of_model(), "cfg_strength", 0.0), 0.0)
        ),
        set=lambda self, value: setattr(self, "own_cfg_strength", value),
        min=0.0,
        max=100.0,
        soft_max=10.0,
    )

    def of_model(self) -> StageInfo | None:
        """What the chosen model sets in this stage; None where that is not known yet."""
        settings = self.id_data.trellis
        info = session.model_info(settings.model)
        # path_from_id is "trellis.sparse_structure" or "trellis.structured_latent".
        return info.stage(self.path_from_id().rpartition(".")[2]) if info is not None else None

    def to_params(self) -> SamplingParams:
        """As the protocol has it: what somebody has set here and the model heeds, and nothing else."""
        why_idle = self.id_data.trellis.why_idle
        steps = self.own_steps if self.use_custom and not why_idle("steps") else 0
        strength = self.own_cfg_strength if self.use_custom and not why_idle("cfg_strength") else -1.0
        return SamplingParams(steps=steps or None, cfg_strength=round(strength, 4) if strength >= 0 else None)


class TrellisSettings(bpy.types.PropertyGroup):
    """Everything that one generation needs."""

    pictures: bpy.props.CollectionProperty(type=TrellisPicture)
    active_picture: bpy.props.IntProperty(
        name="Picture",
        description="Pictures of one object; the first shows its front",
        min=0,
        update=lambda self, context: self.show_picture(),
    )
    picture: bpy.props.StringProperty(
        name="Picture",
        description="File of the picture that is shown",
        subtype="FILE_PATH",
        get=lambda self: getattr(active_picture(self), "path", ""),
        set=lambda self, value: put_picture(self, value),
    )
    background: bpy.props.EnumProperty(
        name="Background",
        description="How what is behind the object goes, before the model looks at the picture",
        items=(
            ("auto", "Automatic", "By its transparency, else the background remover, else its plain color"),
            ("alpha", "Keep Transparency", "What is opaque in the picture is the object"),
            ("remover", "Background Remover", "A model finds the object, whatever is behind it"),
            ("plain", "Plain Color", "One even color goes, as behind a studio picture or a render"),
            ("keep", "Leave As It Is", "The model sees the whole picture"),
        ),
        default=DEFAULTS.background,
        update=lambda self, context: self.show_picture(),
    )
    shows_cut_out: bpy.props.BoolProperty(
        name="Preview Cut-Out",
        description="Show beside the picture what the model will see of it",
        default=False,
        update=lambda self, context: self.show_picture(),
    )
    multi_image: bpy.props.EnumProperty(
        name="Several Pictures",
        description="How pictures of several sides work together",
        items=(
            ("stochastic", "In Turn", "Each step follows one picture: quick, crisp, sides may disagree"),
            ("multidiffusion", "Averaged", "Each step follows all pictures: slower, calmer, less detail"),
        ),
        default=DEFAULTS.multi_image,
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
    own_height: bpy.props.BoolProperty(
        name="Set Height",
        description="Choose how high the result stands; otherwise it stays as it is made, at most a metre",
        get=lambda self: self.height > 0,
        set=lambda self, value: setattr(self, "height", 1.0 if value else 0.0),
    )
    height: bpy.props.FloatProperty(
        name="Height",
        description="How high the result stands",
        subtype="DISTANCE",
        default=0.0,
        min=0.0,
        soft_max=10.0,
    )
    results: bpy.props.IntProperty(
        name="Results",
        description="How many objects one click makes of a picture, each of the next seed",
        default=1,
        min=1,
        max=64,
    )
    place: bpy.props.EnumProperty(
        name="Place",
        description="Where the foot of the result goes; it moves aside where something stands already",
        items=(
            ("cursor", "3D Cursor", "At the 3D cursor"),
            ("origin", "World Origin", "In the middle of the world"),
            ("beside", "Beside the Former", "Next to the result before, or at the 3D cursor"),
        ),
        default="cursor",
    )
    on_ground: bpy.props.BoolProperty(
        name="On the Ground",
        description="Stand it at height 0, however high the 3D cursor or the former result is",
        default=False,
    )
    facing: bpy.props.EnumProperty(
        name="Facing",
        description="Which way the front of the result looks",
        items=(
            ("front", "Front", "Along -Y, to be seen in Blender's front view"),
            ("right", "Right", "Along +X, to be seen in Blender's right view"),
            ("back", "Back", "Along +Y, to be seen in Blender's back view"),
            ("left", "Left", "Along -X, to be seen in Blender's left view"),
        ),
        default="front",
    )
    candidates: bpy.props.IntProperty(
        name="Candidates",
        description="How many shapes to choose from are made, each of the next seed",
        default=4,
        min=2,
        max=MOST,
    )
    sparse_structure: bpy.props.PointerProperty(type=TrellisStageSettings)
    structured_latent: bpy.props.PointerProperty(type=TrellisStageSettings)
    region: bpy.props.PointerProperty(type=TrellisRegionSettings)
    vary: bpy.props.PointerProperty(type=TrellisVarySettings)
    finish: bpy.props.PointerProperty(type=TrellisFinishSettings)
    marks: bpy.props.PointerProperty(type=TrellisMarkSettings)
    formats: bpy.props.EnumProperty(
        name="Output",
        items=tuple((name, one.label, one.description) for name, one in IN_BLENDER.items()),
        options={"ENUM_FLAG"},
        default=set(DEFAULTS.formats),
    )

    def takes(self) -> tuple[Input, ...]:
        """What the model works from; both where that is not known yet, and then a picture goes first."""
        info = session.model_info(self.model)
        return info.takes if info is not None and info.takes else ("pictures", "text")

    def why_idle(self, setting: str) -> str:
        """Why a setting has no effect on the chosen model, one sentence; empty where it has one."""
        info = session.model_info(self.model)
        return info.without_effect.get(setting, "") if info is not None else ""

    def missing(self) -> str:
        """What is still to be chosen before anything can be generated; empty when nothing is."""
        if not self.formats:
            return "Choose at least one output"
        if self.used_pictures() or ("text" in self.takes() and self.prompt.strip()):
            return ""
        return {
            ("pictures",): "Choose a picture",
            ("text",): "Describe the object in the prompt",
        }.get(self.takes(), "Choose a picture or describe the object in the prompt")

    def why_one_picture(self) -> str:
        """Why pictures after the first are of no use to the chosen model; empty where they are of use."""
        info = session.model_info(self.model)
        if info is None or info.several_pictures:
            return ""
        return self.why_idle("multi_image") or "This model looks at one picture only."

    def used_pictures(self) -> tuple[TrellisPicture, ...]:
        """Those that the model looks at: all, the first, or none."""
        if "pictures" not in self.takes():
            return ()
        chosen = tuple(one for one in self.pictures if one.is_set)
        return chosen[:1] if self.why_one_picture() else chosen

    def read_pictures(self) -> tuple[Picture, ...]:
        """The bytes of those that the model looks at. Raises Fault."""
        return tuple(one.read() for one in self.used_pictures())

    def show_picture(self) -> None:
        """After the picture that is shown, or what becomes of it, has changed."""
        refresh_cut_out(self)

    def draw_seed(self) -> None:
        """Puts a new seed in place if that is wanted: in the field, so that it can be used again."""
        if self.use_random_seed:
            self.seed = secrets.randbelow(SEED_MAX)

    def to_standing(self) -> Standing:
        """How a new result stands."""
        return Standing(self.height, self.place, self.on_ground, self.facing)

    def to_request(self, pictures: tuple[Picture, ...], backend: BackendSettings) -> Generate:
        """The message that asks for what is set here; who sends it names the job."""
        return Generate(
            job="",
            model=self.model,
            device=backend.device,
            precision=backend.precision,
            engine=backend.engine,
            memory=backend.memory,
            pictures=tuple(Array("u1", (len(picture.data),), picture.data) for picture in pictures),
            picture_names=tuple(picture.name for picture in pictures),
            prompt=self.prompt if "text" in self.takes() and not pictures else "",
            seed=self.seed,
            sparse_structure=self.sparse_structure.to_params(),
            structured_latent=self.structured_latent.to_params(),
            multi_image=self.multi_image,
            background=self.background,
            formats=tuple(kind for kind in IN_BLENDER if kind in self.formats),
            preview=backend.shows_previews,
            finishing=self.finish.to_finishing(),
        )


CLASSES = (
    TrellisPicture,
    TrellisStageSettings,
    TrellisFinishSettings,
    TrellisMarkSettings,
    *region_settings.CLASSES,
    *vary_settings.CLASSES,
    TrellisSettings,
)
