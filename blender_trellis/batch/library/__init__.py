"""A folder that Blender's Asset Browser opens: one .blend for each asset, and its catalogues."""
