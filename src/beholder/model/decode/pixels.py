"""Converts an image of any mode, as Pillow loads it, to 8-bit RGB: band by band, which takes less memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["bands", "lay_on_white", "to_rgb"]

_BAND_PIXELS = 1 << 18
_DEEP_MODES = frozenset(("I;16", "I;16L", "I;16B", "I;16N", "I", "F"))
_ALPHA_MODES = frozenset(("RGBA", "RGBa", "LA", "La", "PA"))
# Possible full scales of a deep image; the smallest that holds its brightest pixel counts.
_FULL_SCALES = (255.0, 65_535.0, 4_294_967_295.0)


def to_rgb(image: Image.Image, *, key_bits: int = 8) -> NDArray[np.uint8]:
    """Return the pixels of an image, on white where they are transparent.

    Args:
        image: As Pillow loaded it.
        key_bits: Bits of a sample in the file, in which a transparent colour is written.

    Shape:
        returns: (height, width, 3) uint8, RGB.
    """
    key = image.info.get("transparency")
    if image.mode in {"1", "L", "RGB"} and key is not None:
        # Pillow scales the samples to 8 bits, but not the transparent colour that they are compared with.
        image.info["transparency"] = _key_to_8_bits(key, key_bits)
    full = _full_scale(image) if image.mode in {"I", "F"} else 0.0
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows in bands(image.height, image.width):
        band = image.crop((0, rows.start, image.width, rows.stop))
        if image.mode in _DEEP_MODES:
            pixels[rows] = _deep_to_grey(band, full)[:, :, None]
        elif image.mode in _ALPHA_MODES or key is not None:
            lay_on_white(np.asarray(_with_alpha(band)), pixels[rows])
        else:
            pixels[rows] = np.asarray(band.convert("RGB"))
    return pixels


def lay_on_white(rgba: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
    """Write RGBA pixels into `pixels` as they look on white.

    Shape:
        rgba: (height, width, 4) uint8, not premultiplied.
        pixels: (height, width, 3) uint8, overwritten.
    """
    for rows in bands(*pixels.shape[:2]):
        alpha = rgba[rows, :, 3:].astype(np.uint16)
        mixed = rgba[rows, :, :3] * alpha + (255 - alpha) * np.uint16(255) + np.uint16(128)
        # A rounded division by 255 in 16-bit shifts, exact for every value that occurs.
        pixels[rows] = (mixed + (mixed >> 8)) >> 8


def bands(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, each of about a quarter of a million pixels."""
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _key_to_8_bits(key: int | tuple[int, ...], bits: int) -> int | tuple[int, ...]:
    """Scale a transparent colour from `bits` to 8 bits a sample, as Pillow scales the samples."""
    if isinstance(key, tuple):
        return tuple(sample >> (bits - 8) & 0xFF if bits > 8 else sample & 0xFF for sample in key)  # noqa: PLR2004
    return min(key * 255 // ((1 << bits) - 1), 255)


def _with_alpha(band: Image.Image) -> Image.Image:
    if band.mode == "La":  # Pillow has no direct conversion
        band = band.convert("LA")
    return band.convert("RGBA")


def _deep_to_grey(band: Image.Image, full: float) -> NDArray[np.uint8]:
    """Scale a band of grey samples of more than 8 bits, which Pillow would clip."""
    values = np.asarray(band)
    if values.dtype.itemsize == 2:  # noqa: PLR2004 - bytes: 16-bit samples keep their upper half
        grey = (values >> 8).astype(np.uint8)
    else:
        grey = (np.clip(_finite(values), 0.0, full) * (255.0 / full) + 0.5).astype(np.uint8)
    key = band.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return grey


def _full_scale(image: Image.Image) -> float:
    """Return the value of white in an image of 32-bit integers or floats, which the file does not name."""
    brightest = 0.0
    for rows in bands(image.height, image.width):
        values = _finite(np.asarray(image.crop((0, rows.start, image.width, rows.stop))))
        brightest = max(brightest, float(values.max()))
    if image.mode == "F" and brightest <= 1.0:
        return 1.0
    return next((scale for scale in _FULL_SCALES if brightest <= scale), brightest)


def _finite(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the values as floats, with zero for NaN and infinity."""
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
