"""From the bytes of any picture file to one object, cut out, in the size that the image encoders read."""

from backend.image.decode import crop_box, cut_out, on_black, open_picture, preprocess

__all__ = ["crop_box", "cut_out", "on_black", "open_picture", "preprocess"]
