"""From the bytes of any picture file to one object, cut out, in the size that the image encoders read."""

from backend.image.crop import crop_box, cut_out, on_black, preprocess
from backend.image.decode import open_picture, read_picture_file

__all__ = ["crop_box", "cut_out", "on_black", "open_picture", "preprocess", "read_picture_file"]
