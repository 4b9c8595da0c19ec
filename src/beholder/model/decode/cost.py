"""Estimates the cost of decoding an image from its header and its length."""

from beholder.errors import RequestError
from beholder.model.decode.header import ImageFormat, ImageHeader, read_header
from beholder.model.decode.limits import ImageLimits

__all__ = ["PIXELS_PER_BYTE", "decode_cost_pixels", "is_heavy"]

# A JPEG is scaled down while it is decoded, at a quarter of the cost of other formats.
_JPEG_SHARE = 0.25
# A file that does not compress costs by its length: 8 MB cost as much as 16 million pixels.
PIXELS_PER_BYTE = 2.0
"""What a byte of a file costs at least, in pixels of a PNG."""


def decode_cost_pixels(header: ImageHeader, file_bytes: int) -> float:
    """Return how many pixels of a PNG take as long to decode as the image.

    Args:
        header: The image's.
        file_bytes: The file's length.
    """
    pixels = header.width * header.height * (_JPEG_SHARE if header.format is ImageFormat.JPEG else 1.0)
    return max(pixels, file_bytes * PIXELS_PER_BYTE)


def is_heavy(data: bytes, *, limits: ImageLimits, pixels_min: float) -> bool:
    """Say whether decoding an image costs as much as `pixels_min` pixels of a PNG; False if it is refused.

    Args:
        data: The whole file.
        limits: The bounds on the image.
        pixels_min: The least cost of a heavy image.
    """
    try:
        header = read_header(data, limits)
    except RequestError:
        return False
    return decode_cost_pixels(header, len(data)) >= pixels_min
