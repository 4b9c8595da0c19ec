"""The bounds on an image; its header is checked against them before it is decoded."""

from dataclasses import dataclass
from typing import Annotated

from beholder.setting import Setting

__all__ = ["ImageLimits"]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds on an uploaded image."""

    image_bytes_max: Annotated[int, "Length of an image file, in bytes.", Setting(1, 1_000_000_000)] = (
        20_000_000
    )
    image_pixels_max: Annotated[int, "Width times height of an image.", Setting(1, 1_000_000_000)] = (
        64_000_000
    )
    image_side_max: Annotated[int, "The longer side of an image, in pixels.", Setting(1, 65_535)] = 32_768
    image_side_min: Annotated[int, "The shorter side of an image, in pixels.", Setting(1, 65_535)] = 8
