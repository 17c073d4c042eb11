"""Makes the background of a picture transparent: by U²-Net where its file is here, else by plain colour."""

from backend.background.remove import remove_background

__all__ = ["remove_background"]
