"""Makes the model's input of an image's bytes: checks, decodes, crops, scales and turns it upright."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from beholder.errors import ImageSizeUnsupported
from beholder.model.decode.decode import decode
from beholder.model.decode.header import ImageHeader, read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.orientation import apply_orientation, read_orientation
from beholder.model.port import Preprocessing, PreprocessingKind

__all__ = ["prepare"]

# One worker process runs per core; OpenCV's own threads would compete with the others.
cv2.setNumThreads(1)

# Beyond this ratio of crop to input, cubic interpolation skips pixels and area averaging sees them all. Both
# together score 90 of 100 top-1 and 98 of 100 top-5 on the labelled photos, more than either alone.
_AREA_RATIO = 2
_ROWS_REVERSED = frozenset((3, 4, 6, 7))
_COLUMNS_REVERSED = frozenset((2, 3, 7, 8))
_SIDES_SWAPPED = frozenset((5, 6, 7, 8))
_DEFAULT_LIMITS = ImageLimits()


def prepare(
    data: bytes, preprocessing: Preprocessing, limits: ImageLimits = _DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Return the model's input for one image.

    Args:
        data: The whole file.
        preprocessing: The model's.
        limits: The bounds on the image, which the web tier has checked, too.

    Shape:
        returns: (size, size, 3) uint8, RGB, contiguous and writable; (height, width, 3) for `as-is`.

    Raises:
        RequestError: The header is refused; see `read_header`.
        ImageSizeUnsupported: The image is smaller than the model's smallest (`as-is` only).
        ImageTruncated: The data ends early.
        ImageUndecodable: The data is damaged.
    """
    header = read_header(data, limits)
    orientation = read_orientation(data, header)
    if preprocessing.kind is PreprocessingKind.AS_IS or preprocessing.size is None:
        _check_size(header, orientation, preprocessing)
        image = apply_orientation(decode(data, header), orientation)
        return np.ascontiguousarray(image)
    shorter_side_min = math.ceil(_AREA_RATIO * preprocessing.size / preprocessing.crop_fraction)
    image = decode(data, header, shorter_side_min=shorter_side_min)
    part = _centre(image, preprocessing, orientation)
    scaled = _scale(part, preprocessing.size)
    # Turning the small square gives the same pixels as turning the photo, and costs less.
    return np.ascontiguousarray(apply_orientation(scaled, orientation))


def _check_size(header: ImageHeader, orientation: int, preprocessing: Preprocessing) -> None:
    """Refuse an image that is smaller upright than the model's smallest, before it is decoded."""
    height, width = header.height, header.width
    if orientation in _SIDES_SWAPPED:
        height, width = width, height
    if height < preprocessing.height_min or width < preprocessing.width_min:
        raise ImageSizeUnsupported(
            f"the model cannot run an image of {width} x {height} pixels; the smallest it runs is "
            f"{preprocessing.width_min} x {preprocessing.height_min}"
        )


def _centre(image: NDArray[np.uint8], preprocessing: Preprocessing, orientation: int) -> NDArray[np.uint8]:
    """Return a view of the centred square, or for `stretch` of a centred part of the image's own shape.

    If the centre falls between two pixels, the part begins at the later pixel of the upright image.
    """
    height, width = image.shape[:2]
    is_stretched = preprocessing.kind is PreprocessingKind.STRETCH
    rows, columns = (height, width) if is_stretched else (min(height, width),) * 2
    rows, columns = (max(1, int(preprocessing.crop_fraction * side)) for side in (rows, columns))
    top = (height - rows + (orientation not in _ROWS_REVERSED)) // 2
    left = (width - columns + (orientation not in _COLUMNS_REVERSED)) // 2
    return image[top : top + rows, left : left + columns]


def _scale(part: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if max(part.shape[:2]) > _AREA_RATIO * size else cv2.INTER_CUBIC
    scaled: NDArray[np.uint8] = cv2.resize(part, (size, size), interpolation=method)
    return scaled
