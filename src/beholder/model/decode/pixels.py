"""From an image that Pillow holds, of whatever mode, to 8-bit RGB."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["to_rgb"]

_WHITE = (255, 255, 255)
_DEEP_MODES = frozenset(("I;16", "I;16L", "I;16B", "I;16N", "I", "F"))
_ALPHA_MODES = frozenset(("RGBA", "RGBa", "LA", "La", "PA"))
# Full scales that a deep image may be meant in; the smallest that holds its brightest pixel is taken.
_FULL_SCALES = (255.0, 65_535.0, 4_294_967_295.0)


def to_rgb(image: Image.Image, *, key_bits: int = 8) -> NDArray[np.uint8]:
    """Return the pixels, transparent ones on white.

    Args:
        image: Loaded or not; of any mode.
        key_bits: Bits of a sample in the file. A transparent colour is written in the file's own depth.

    Shape:
        returns: (height, width, 3) uint8, RGB; may be read-only.
    """
    if image.mode in _DEEP_MODES:
        return _deep_to_rgb(image)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _on_white(_with_alpha(image, key_bits))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _with_alpha(image: Image.Image, key_bits: int) -> Image.Image:
    """Return `image` as RGBA."""
    key = image.info.get("transparency")
    if image.mode in {"1", "L", "RGB"} and key is not None:
        # Pillow scales the samples to 8 bits, but not the transparent colour that they are compared with.
        image.info["transparency"] = _key_to_8_bits(key, key_bits)
    if image.mode in {"La", "RGBa"}:
        return image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    return image.convert("RGBA")


def _key_to_8_bits(key: int | tuple[int, ...], bits: int) -> int | tuple[int, ...]:
    """Scale a transparent colour from `bits` to 8 bits a sample, as the samples themselves were."""
    if isinstance(key, tuple):
        return tuple(sample >> (bits - 8) & 0xFF if bits > 8 else sample & 0xFF for sample in key)  # noqa: PLR2004
    return min(key * 255 // ((1 << bits) - 1), 255)


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    """Lay an RGBA image on white, as a page would show it."""
    ground = Image.new("RGB", image.size, _WHITE)
    ground.paste(image, mask=image)
    return np.asarray(ground)


def _deep_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Scale a grey image of more than 8 bits, where Pillow would clip it."""
    values = np.asarray(image)
    # 16-bit samples keep their upper half.
    grey = (values >> 8).astype(np.uint8) if values.dtype.itemsize == 2 else _scaled(values)  # noqa: PLR2004
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _scaled(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale 32-bit integers or floats, whose white nothing in the file names, to 8 bits."""
    numbers = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(numbers.max(initial=0.0))
    if values.dtype.kind == "f" and brightest <= 1.0:
        full = 1.0
    else:
        full = next((scale for scale in _FULL_SCALES if brightest <= scale), brightest)
    np.clip(numbers, 0.0, full, out=numbers)
    numbers *= 255.0 / full
    return (numbers + 0.5).astype(np.uint8)
