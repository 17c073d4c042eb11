"""Makes the background of a picture transparent: by a network whose file is here, or by plain colour."""

from backend.background.remove import remove_background

__all__ = ["remove_background"]
