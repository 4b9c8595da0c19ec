"""What decoding an image costs, estimated from its header and its length, before a byte of it is decoded."""

from beholder.model.decode.header import ImageFormat, ImageHeader

__all__ = ["decode_cost_pixels"]

# A JPEG is scaled down while it is decoded, at a quarter of what the same pixels cost elsewhere.
_JPEG_SHARE = 0.25
# A file that does not compress costs by its length: 8 MB of it as much as 16 million pixels.
_PIXELS_PER_BYTE = 2.0


def decode_cost_pixels(header: ImageHeader, file_bytes: int) -> float:
    """Return how many pixels of a PNG take as long to decode as the image does.

    Args:
        header: Of the image.
        file_bytes: Length of its file.
    """
    pixels = header.width * header.height * (_JPEG_SHARE if header.format is ImageFormat.JPEG else 1.0)
    return max(pixels, file_bytes * _PIXELS_PER_BYTE)
