"""How meshes are finished, kept on the scene."""

import bpy

from ...protocol import READY_TO_USE as DEFAULTS
from ...protocol import Finishing


class TrellisFinishSettings(bpy.types.PropertyGroup):
    """What is done to every mesh that is made, and to one that is there by a button."""

    preset: bpy.props.EnumProperty(
        name="Mesh",
        description="How far the mesh is made ready to be used; the raw one is kept, hidden, for edits",
        items=(
            ("raw", "Raw", "As the model draws it: fine, with holes and walls inside"),
            ("film", "Film", "Closed, at most 100,000 faces"),
            ("game", "Game", "Closed, at most 20,000 faces"),
            ("mobile", "Mobile", "Closed, at most 5,000 faces"),
        ),
        default=DEFAULTS.preset,
    )
    own_faces: bpy.props.BoolProperty(
        name="Set Faces",
        description="Choose how many faces the mesh may have; otherwise the choice of the mesh says it",
        get=lambda self: self.faces > 0,
        set=lambda self, value: setattr(self, "faces", 20_000 if value else 0),
    )
    faces: bpy.props.IntProperty(
        name="Faces",
        description="At most so many faces",
        default=DEFAULTS.faces,
        min=0,
        soft_max=200_000,
        max=2_000_000,
    )
    watertight: bpy.props.BoolProperty(
        name="Watertight",
        description="Close every gap of a raw mesh too; Film, Game and Mobile are always closed",
        default=DEFAULTS.watertight,
    )
    outside: bpy.props.BoolProperty(
        name="Remove Hidden",
        description="Remove what cannot be seen from outside, such as walls within walls",
        default=DEFAULTS.outside,
    )
    crumbs: bpy.props.FloatProperty(
        name="Crumbs",
        description="Remove loose parts smaller than this share of the largest one; 0 keeps all",
        default=DEFAULTS.crumbs,
        min=0.0,
        soft_max=0.1,
        max=1.0,
        precision=3,
        step=1,
    )
    texture: bpy.props.EnumProperty(
        name="Texture",
        description="A texture with UVs, baked from picture and Gaussians; without one, vertex colors",
        items=(
            ("0", "None", "Colors of vertices"),
            *((str(size), f"{size} px", f"{size} × {size} pixels") for size in (512, 1024, 2048, 4096)),
        ),
        default=str(DEFAULTS.texture),
    )
    project_picture: bpy.props.BoolProperty(
        name="Project the Picture",
        description="Put the picture's own pixels onto what it shows, as sharp as they are",
        default=DEFAULTS.project_picture,
    )
    symmetry: bpy.props.EnumProperty(
        name="Mirror",
        description="Give the far side of a symmetric object what the picture shows of the near side",
        items=(
            ("off", "Off", "The far side has the colors that the model gives it"),
            ("auto", "Where It Fits", "Where a test finds the object symmetric"),
            ("on", "Always", "Whatever the test says"),
        ),
        default=DEFAULTS.symmetry,
    )
    delight: bpy.props.BoolProperty(
        name="Remove Shading",
        description="Divide soft light and shadow out of the picture, so that your own lights do it",
        default=DEFAULTS.delight,
    )
    material: bpy.props.EnumProperty(
        name="Surface",
        items=(
            ("matte", "Matte", "No gloss, as chalk"),
            ("satin", "Satin", "A soft gloss, as varnished wood"),
            ("glossy", "Glossy", "As glazed china"),
            ("metal", "Metal", "As brushed metal"),
        ),
        default=DEFAULTS.material,
    )

    def to_finishing(self) -> Finishing:
        """As messages have it."""
        return Finishing(
            self.preset,
            self.faces,
            self.watertight,
            int(self.texture),
            self.project_picture,
            self.symmetry,
            self.delight,
            self.material,
            self.outside,
            self.crumbs,
        )


CLASSES = (TrellisFinishSettings,)
