"""Images that tests make for themselves."""

import io

import numpy as np
from PIL import Image

__all__ = ["jpeg", "png", "slow_png"]


def png(width: int, height: int) -> bytes:
    """Return a black PNG."""
    return _encoded(np.zeros((height, width, 3), np.uint8), "PNG")


def jpeg(seed: int, side: int = 64) -> bytes:
    """Return a small JPEG, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return _encoded(np.kron(pixels, np.ones((side // 8, side // 8, 1), np.uint8)), "JPEG")


def slow_png() -> bytes:
    """Return a PNG of a few kilobytes whose 60 million pixels take about a second to decode."""
    return _encoded(np.zeros((6000, 10000, 3), np.uint8), "PNG")


def _encoded(pixels: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()
