"""The bounds on an image; its header is checked against them before it is decoded."""

from dataclasses import dataclass

__all__ = ["ImageLimits"]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds on an uploaded image.

    Args:
        image_bytes_max: Length of an image file, in bytes.
        image_pixels_max: Width times height of an image.
        image_side_max: The longer side of an image, in pixels.
        image_side_min: The shorter side of an image, in pixels.
    """

    image_bytes_max: int = 20_000_000
    image_pixels_max: int = 64_000_000
    image_side_max: int = 32_768
    image_side_min: int = 8
