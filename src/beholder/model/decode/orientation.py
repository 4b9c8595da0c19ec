"""Reads the Exif orientation of a photo and applies it to pixels.

Source: CIPA DC-008 (Exif 2.32), 4.6.4 A: tag 274, Orientation; in JPEG in APP1, in PNG in the chunk eXIf, in
WebP in the chunk EXIF. AVIF and HEIC have properties for it, and Exif does not count there.
"""

import numpy as np
from numpy.typing import NDArray

from beholder.model.decode import heif, jpeg, png, tiff, webp
from beholder.model.decode.header import ImageFormat, ImageHeader

__all__ = ["apply_orientation", "read_orientation"]

_UPRIGHT = 1
_ORIENTATION_MAX = 8
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
_APP1 = 0xE1
_EXIF, _EXIF_BYTES = b"Exif\0", 6  # the sixth byte is padding


def read_orientation(data: bytes, header: ImageHeader) -> int:
    """Return the image's Exif orientation, 1 to 8; 1 (upright) if it is missing or makes no sense."""
    if header.format in (ImageFormat.AVIF, ImageFormat.HEIC):
        return heif.read_orientation(data)
    exif = _exif_block(data, header.format)
    if exif is None or exif[:4] not in _TIFF:
        return _UPRIGHT
    orientation = tiff.read_orientation(exif)
    return orientation if _UPRIGHT <= orientation <= _ORIENTATION_MAX else _UPRIGHT


def _exif_block(data: bytes, image_format: ImageFormat) -> bytes | None:
    """Return the Exif block, which begins with a TIFF header, or None."""
    match image_format:
        case ImageFormat.JPEG:
            return _jpeg_exif(data)
        case ImageFormat.PNG:
            return _bare(png.find_chunk(data, b"eXIf"))
        case ImageFormat.WEBP:
            return _bare(webp.find_chunk(data, b"EXIF"))
        case ImageFormat.TIFF:
            return data
        case _:
            return None


def _bare(block: bytes | None) -> bytes | None:
    """Return a block without the name that only JPEG needs; some writers add it elsewhere too."""
    return block[_EXIF_BYTES:] if block and block.startswith(_EXIF) else block


def _jpeg_exif(data: bytes) -> bytes | None:
    """Return the content of a JPEG's first Exif segment, as browsers do."""
    for marker, start, end in jpeg.segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            return data[start + _EXIF_BYTES : end]
    return None


def apply_orientation(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the image upright.

    Args:
        image: The pixels as stored.
        orientation: The Exif orientation, 1 to 8.

    Shape:
        image: (height, width, 3) uint8.
        returns: (height, width, 3) uint8, or (width, height, 3) for orientations 5 to 8; a view of `image`.
    """
    if orientation > 4:  # noqa: PLR2004 - 5 to 8 exchange rows and columns
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
