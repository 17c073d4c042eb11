"""Which files are pictures that the backend reads, by their names and by how their bytes begin."""

PICTURE_SUFFIXES = (
    *(".png", ".apng"),
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".webp", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
)
"""In lower case; a file's is compared without regard to case."""

PNG = b"\x89PNG\r\n\x1a\n"
_BEGINNINGS = (PNG, b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DIB_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
"""The sizes of headers with which a bitmap without its file header begins."""


def begins_as_picture(data: bytes) -> bool:
    """Whether the bytes of a file begin as those of a picture that is read; it may still be damaged."""
    return (
        data.startswith(_BEGINNINGS)
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or data[4:8] == b"ftyp"  # AVIF
        or int.from_bytes(data[:4], "little") in _DIB_HEADERS
    )
