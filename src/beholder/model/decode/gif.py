"""The blocks of a GIF file up to its first frame, read without decoding.

Source: CompuServe, Graphics Interchange Format version 89a (31 July 1990), sections 15 to 26.
"""

import struct
from collections.abc import Iterator

from beholder.errors import ImageHeaderInvalid

__all__ = ["read_size"]

_SCREEN_END = 13
_EXTENSION, _FRAME = 0x21, 0x2C
_FRAME_BYTES = 10
_BLOCKS_MAX = 20_000  # each costs a fraction of a microsecond; an ICC profile or XMP takes some hundreds


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas that holds the logical screen and the whole first frame.

    Raises:
        ImageHeaderInvalid: There is no frame.
    """
    if len(data) < _SCREEN_END:
        raise ImageHeaderInvalid("The GIF ends within its header; send the whole file.")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = _after_palette(_SCREEN_END, flags)
    steps = iter(range(_BLOCKS_MAX))  # shared with the walk through sub-blocks, so that it bounds both
    for _ in steps:
        kind = data[position : position + 1]
        if kind == bytes([_FRAME]) and position + _FRAME_BYTES <= len(data):
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
            if not frame_width or not frame_height:
                raise ImageHeaderInvalid(
                    "The GIF's first frame is empty; the file is damaged, export it again."
                )
            return max(width, left + frame_width), max(height, top + frame_height)
        if kind != bytes([_EXTENSION]):
            break
        position = _after_blocks(data, position + 2, steps)
    raise ImageHeaderInvalid("The GIF has no frame; the file is damaged or cut off, export it again.")


def _after_palette(position: int, flags: int) -> int:
    """Return where a colour table at `position` ends; `flags` has its presence and size."""
    return position + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)


def _after_blocks(data: bytes, position: int, steps: Iterator[int]) -> int:
    """Return where a chain of sub-blocks ends; the end of the data if `steps` or the data runs out."""
    for _ in steps:
        if position >= len(data):
            break
        size = data[position]
        position += size + 1
        if not size:
            return position
    return len(data)
