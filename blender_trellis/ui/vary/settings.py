"""What the panel of variants lets people set, kept on the scene."""

import secrets

import bpy

from ...editing.effects import is_polisher
from ...protocol import ModelInfo, Vary

DEFAULTS = Vary(job="")
SEED_MAX = 2**31 - 1
MOST = 16  # variants at one click
OWN, PICTURE, SENTENCE = "OWN", "PICTURE", "SENTENCE"


class TrellisVarySettings(bpy.types.PropertyGroup):
    """How variants are made."""

    what: bpy.props.EnumProperty(
        name="What Varies",
        description="What the variants do not share with what they are made from",
        items=(
            ("look", "Look", "Keep the shape and give it other colors and details"),
            ("shape", "Shape and Look", "Change the shape too"),
        ),
        default="look",
    )
    guide: bpy.props.EnumProperty(
        name="Guide",
        description="What shows how the variants should look; always the whole object",
        items=(
            (OWN, "As It Was Made", "The picture or sentence that the asset was made from"),
            (PICTURE, "Picture", "Another picture of the whole object, from its front"),
            (SENTENCE, "Sentence", "The whole object in words, for models that take text"),
        ),
        default=OWN,
    )
    image: bpy.props.PointerProperty(
        name="Picture", description="The whole object as it should look, from its front", type=bpy.types.Image
    )
    prompt: bpy.props.StringProperty(name="Sentence", description="The whole object, in words")
    chosen_strength: bpy.props.FloatProperty(default=-1.0, options={"HIDDEN"})  # below 0: not set
    own_strength: bpy.props.BoolProperty(
        name="Set Strength",
        description="Choose how far it may go; otherwise the model says it",
        get=lambda self: self.chosen_strength >= 0,
        set=lambda self, value: setattr(self, "chosen_strength", 0.5 if value else -1.0),
    )
    strength: bpy.props.FloatProperty(
        name="Strength",
        description="How far a variant may go from what is there: a touch near 0, an invention at 1",
        get=lambda self: max(self.chosen_strength, 0.0),
        set=lambda self, value: setattr(self, "chosen_strength", value),
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    count: bpy.props.IntProperty(
        name="Variants", description="How many are made, side by side", default=1, min=1, max=MOST
    )
    seed: bpy.props.IntProperty(
        name="Seed",
        description="The first variant's; each further one has the next number",
        default=DEFAULTS.seed,
        min=0,
        max=SEED_MAX,
    )
    use_random_seed: bpy.props.BoolProperty(
        name="Random Seed", description="Draw a new seed for every click", default=False
    )

    def why_idle(self, setting: str, info: ModelInfo | None) -> str:
        """Why a setting changes nothing on the model, one sentence; empty where it does."""
        if setting in ("seed", "count"):
            return "" if info is None else info.without_effect.get("seed", "")
        return (
            "This model hardly refines what it predicts: more strength only spoils it."
            if setting == "strength" and is_polisher(info)
            else ""
        )

    def draw_seed(self) -> None:
        """Puts a new seed in place if that is wanted: in the field, so that it can be used again."""
        if self.use_random_seed:
            self.seed = secrets.randbelow(SEED_MAX)

    def to_count(self, info: ModelInfo | None) -> int:
        """How many variants to make; one where all would be the same."""
        return 1 if self.why_idle("count", info) else self.count

    def to_strength(self, info: ModelInfo | None) -> float | None:
        """As a request has it; None: as the model recommends."""
        if not self.own_strength or self.why_idle("strength", info):
            return None
        return max(round(self.strength, 4), 0.001)


CLASSES = (TrellisVarySettings,)
