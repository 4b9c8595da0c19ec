"""The bounds on an image, from the settings."""

from beholder.config import Settings
from beholder.model.decode.limits import ImageLimits

__all__ = ["image_limits"]


def image_limits(settings: Settings) -> ImageLimits:
    """Return the bounds on an image."""
    return ImageLimits(
        image_bytes_max=settings.image_bytes_max,
        image_pixels_max=settings.image_pixels_max,
        image_side_max=settings.image_side_max,
        image_side_min=settings.image_side_min,
    )
