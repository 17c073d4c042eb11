"""How results are marked for the Asset Browser, kept on the scene."""

import bpy

from ...scene.asset_marking import AssetMarks


class TrellisMarkSettings(bpy.types.PropertyGroup):
    """Who made an asset and under which licence, and what it is found by."""

    marks_results: bpy.props.BoolProperty(
        name="Mark as Asset",
        description="Show every new result in the Asset Browser, with a picture of it",
        default=False,
    )
    author: bpy.props.StringProperty(
        name="Author", description="Who made it, as the Asset Browser shows it", default=""
    )
    license: bpy.props.StringProperty(
        name="License", description="On which terms it may be used, such as CC0 or CC BY 4.0", default=""
    )
    tags: bpy.props.StringProperty(
        name="Tags", description="Words that it is found by, with commas between them", default=""
    )

    def to_marks(self) -> AssetMarks:
        """As assets are marked."""
        tags = tuple(filter(None, (tag.strip() for tag in self.tags.split(","))))
        return AssetMarks(self.author.strip(), self.license.strip(), tags)


CLASSES = (TrellisMarkSettings,)
