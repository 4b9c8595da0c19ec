"""The header of a BMP file, read without decoding.

Source: Microsoft, Win32 documentation, BITMAPCOREHEADER, BITMAPINFOHEADER and BITMAPV5HEADER.
"""

import struct

from beholder.errors import ImageHeaderInvalid

__all__ = ["essential", "read_size"]

_CORE_HEADER_BYTES = 12
_COMPRESSION_AT, _RLE = 30, frozenset((1, 2))  # 8 and 4 bits a pixel
_CODE_BYTES_MAX = 4  # of a run-length code that draws a pixel, or skips some
_INFO_HEADER_BYTES = frozenset((40, 52, 56, 64, 108, 124))


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height), both positive; in the file a negative height means that rows run downwards.

    Raises:
        ImageHeaderInvalid: The header is cut off or of an unknown kind.
    """
    if len(data) < 26:  # noqa: PLR2004 - the file header and the two sides
        raise ImageHeaderInvalid("The BMP ends within its header; send the whole file.")
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", data, 18)
    elif header_bytes in _INFO_HEADER_BYTES:
        width, height = struct.unpack_from("<ii", data, 18)
        height = abs(height)
    else:
        raise ImageHeaderInvalid(
            "The BMP's header is of no known kind; the file is damaged, export it again."
        )
    if width <= 0 or height <= 0:
        raise ImageHeaderInvalid(f"The BMP says that it is {width} by {height} pixels; export it again.")
    return int(width), int(height)


def essential(data: bytes) -> bytes:
    """Return the file without the run-length codes that are more than its pixels can need.

    Some codes draw no pixel, and Pillow reads code after code until it has all pixels or no data.
    """
    width, height = read_size(data)
    offset, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == _CORE_HEADER_BYTES or len(data) < _COMPRESSION_AT + 4:
        return data
    if struct.unpack_from("<I", data, _COMPRESSION_AT)[0] not in _RLE:
        return data
    return data[: offset + _CODE_BYTES_MAX * (width + 1) * (height + 1)]
