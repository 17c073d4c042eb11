"""What the region panel lets people set, kept on the scene."""

import math
import secrets

import bpy

from ...editing.edit_request import EditChoices
from ...editing.effects import why_idle
from ...protocol import Edit, ModelInfo

DEFAULTS = Edit(job="")
SEED_MAX = 2**31 - 1
STRENGTH = 0.5  # where sampling starts from what is there, and where somebody begins to choose
OWN, PICTURE, SENTENCE, PAINTED = "OWN", "PICTURE", "SENTENCE", "PAINTED"


class TrellisRegionSettings(bpy.types.PropertyGroup):
    """How a region is regenerated."""

    mode: bpy.props.EnumProperty(
        name="What Changes",
        description="What becomes of the part of the asset that lies in the region",
        items=(
            ("replace", "Shape and Look", "Make the part anew: another shape with other colors"),
            ("add", "Add", "Keep the part and add to it what the picture shows beside it"),
            ("look", "Look Only", "Keep the shape and give it other colors"),
            ("remove", "Remove", "Take the part away and close the cut"),
        ),
        default=DEFAULTS.mode,
    )
    guide: bpy.props.EnumProperty(
        name="Guide",
        description="What shows how the asset should be; always the whole of it, not the part alone",
        items=(
            (OWN, "As It Was Made", "The picture or sentence that the asset was made from"),
            (PICTURE, "Picture", "Another picture of the whole asset, from its front"),
            (SENTENCE, "Sentence", "The whole asset in words, for models that take text"),
            (PAINTED, "Paint the Change", "A picture of the asset that you paint over in an image editor"),
        ),
        default=OWN,
    )
    image: bpy.props.PointerProperty(
        name="Picture",
        description="The whole asset as it should be, from the side that its own picture shows",
        type=bpy.types.Image,
    )
    painted: bpy.props.PointerProperty(
        name="Painting", description="The picture of the asset that is painted over", type=bpy.types.Image
    )
    prompt: bpy.props.StringProperty(name="Sentence", description="The whole asset, in words")
    view_height: bpy.props.FloatProperty(
        name="Seen From",
        description="From how far above the picture to paint on is seen; best as in the asset's own picture",
        subtype="ANGLE",
        default=math.radians(20),
        min=math.radians(-80),
        max=math.radians(80),
    )
    seed: bpy.props.IntProperty(
        name="Seed",
        description="Another number gives another part; the same number and settings the same one",
        default=DEFAULTS.seed,
        min=0,
        max=SEED_MAX,
    )
    use_random_seed: bpy.props.BoolProperty(
        name="Random Seed", description="Draw a new seed for every click", default=False
    )
    start: bpy.props.EnumProperty(
        name="Begin With",
        description="What the new part grows out of",
        items=(
            ("guide", "Nothing", "Make the part afresh, as the guide shows it"),
            ("asset", "What Is There", "Change the part as it is; the strength says how much"),
        ),
        default=DEFAULTS.start,
    )
    chosen_strength: bpy.props.FloatProperty(default=-1.0, options={"HIDDEN"})  # below 0: not set
    own_strength: bpy.props.BoolProperty(
        name="Set Strength",
        description="Choose how far it may go; otherwise the model says it",
        get=lambda self: self.chosen_strength >= 0,
        set=lambda self, value: setattr(self, "chosen_strength", STRENGTH if value else -1.0),
    )
    strength: bpy.props.FloatProperty(
        name="Strength",
        description="How far the part may go from what it begins with: a touch near 0, an invention at 1",
        get=lambda self: max(self.chosen_strength, 0.0),
        set=lambda self, value: setattr(self, "chosen_strength", value),
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    jumps: bpy.props.IntProperty(
        name="Settling",
        description="How often each step is taken again, so that the part fits in; more take longer",
        default=DEFAULTS.jumps,
        min=1,
        max=50,
        soft_max=10,
    )
    growth: bpy.props.IntProperty(
        name="Reach",
        description="How far around the region the shape is thought out anew; only the region changes",
        default=DEFAULTS.growth,
        min=0,
        max=4,
    )
    margin: bpy.props.IntProperty(
        name="Seam Softness",
        description="How many voxels around the region the surface may bend to meet the part",
        default=DEFAULTS.margin,
        min=0,
        max=16,
        soft_max=4,
    )
    keeps_former: bpy.props.BoolProperty(
        name="Keep Former", description="Keep the asset as it was beside the new one, hidden", default=False
    )

    def usual_strength(self, info: ModelInfo | None) -> float | None:
        """What is taken where nobody has set a strength; None: the model's own."""
        return STRENGTH if self.start == "asset" and not self.why_idle("start", info) else None

    def why_idle(self, setting: str, info: ModelInfo | None) -> str:
        """Why a setting changes nothing with the asset's model; empty where it does."""
        return why_idle(setting, self.mode, self.start, info)

    def draw_seed(self) -> None:
        """Puts a new seed in place if that is wanted: in the field, so that it can be used again."""
        if self.use_random_seed:
            self.seed = secrets.randbelow(SEED_MAX)

    def choices(self, info: ModelInfo | None) -> EditChoices:
        """As the request has it. What has no effect on the model is left at its default."""
        heeded = {
            name: getattr(self if not self.why_idle(name, info) else DEFAULTS, name)
            for name in ("seed", "start", "margin", "growth", "jumps")
        }
        refines = heeded.pop("start") == "asset"
        set_by_hand = self.own_strength and not self.why_idle("strength", info)
        strength = round(self.strength, 4) if set_by_hand else self.usual_strength(info)
        return EditChoices(mode=self.mode, refines=refines, strength=strength, **heeded)


CLASSES = (TrellisRegionSettings,)
