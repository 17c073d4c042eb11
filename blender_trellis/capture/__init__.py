"""Pictures from elsewhere in Blender and from the clipboard, as images that are packed into the .blend."""
