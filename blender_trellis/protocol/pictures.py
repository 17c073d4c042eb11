"""Which files of a folder are pictures that the backend reads."""

PICTURE_SUFFIXES = (
    *(".png", ".apng"),
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".webp", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
)
"""In lower case; a file's is compared without regard to case."""
