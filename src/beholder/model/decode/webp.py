"""The chunks of a WebP file, read without decoding.

Source: IETF, RFC 9649 (November 2024), sections 2 (container) and 3 (lossless); RFC 6386 section 9.1 (VP8).
"""

import struct

from beholder.errors import ImageHeaderInvalid

__all__ = ["find_chunk", "is_animated", "is_complete", "read_size"]

_HEADER_END = 30  # RIFF header, chunk header and the longest of the three frame headers
_RIFF_BYTES = 8
_FIRST_CHUNK_AT = 12
_CHUNKS_MAX = 1_000
_ANIMATION_FLAG = 0x02


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas.

    Raises:
        ImageHeaderInvalid: The header is cut off or makes no sense.
    """
    if len(data) < _HEADER_END:
        raise ImageHeaderInvalid("The WebP ends within its header; send the whole file.")
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:  # noqa: PLR2004 - the signature of lossless data
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF  # the upper two bits ask for upscaling, which nobody does
    raise ImageHeaderInvalid("The WebP's header makes no sense; the file is damaged, export it again.")


def is_complete(data: bytes) -> bool:
    """Say whether the file has all the bytes that its RIFF header announces."""
    return len(data) >= _RIFF_BYTES + int.from_bytes(data[4:8], "little")


def is_animated(data: bytes) -> bool:
    """Say whether the header announces frames of an animation."""
    return data[12:16] == b"VP8X" and bool(data[20] & _ANIMATION_FLAG)


def find_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """Return the content of the first chunk of type `wanted`; None when there is none to be found."""
    position = _FIRST_CHUNK_AT
    for _ in range(_CHUNKS_MAX):
        if position + 8 > len(data):
            return None
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == wanted:
            return data[position + 8 : position + 8 + length]
        position += 8 + length + (length & 1)
    return None
