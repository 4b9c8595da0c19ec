"""The chunks of a WebP file, read without decoding.

Source: IETF, RFC 9649 (November 2024), sections 2 (container) and 3 (lossless); RFC 6386 section 9.1 (VP8).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from beholder.errors import ImageHeaderInvalid, ImageTruncated, ImageUndecodable

__all__ = ["Still", "find_chunk", "read_size", "read_still"]

_HEADER_END = 30  # RIFF header, chunk header and the longest of the three frame headers
_PICTURE_HEADER_BYTES = 10  # of the longer of the two kinds
_RIFF_BYTES = 8
_FIRST_CHUNK_AT = 12
_CHUNKS_MAX = 1_000
_ANIMATION_FLAG = 0x02
_FRAME_HEADER_BYTES = 16


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
    size = _picture_size(kind, data[20:_HEADER_END])
    if size is None:
        raise ImageHeaderInvalid("The WebP's header makes no sense; the file is damaged, export it again.")
    return size


def _picture_size(kind: bytes, content: bytes) -> tuple[int, int] | None:
    """Return (width, height) by the chunk of pixels itself; None if it makes no sense."""
    if kind == b"VP8L" and content[:1] == b"\x2f":  # the signature of lossless data
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and content[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", content[6:_PICTURE_HEADER_BYTES].ljust(4, b"\0"))
        return width & 0x3FFF, height & 0x3FFF  # the upper two bits ask for upscaling, which decoders ignore
    return None


@dataclass(frozen=True, slots=True)
class Still:
    """One picture of a WebP file, as a file of its own.

    Args:
        canvas: Width and height of the canvas.
        data: A WebP file with the picture alone, without profile, texts and other frames.
        width: Columns of the picture; the canvas has as many unless the picture is a frame.
        height: Its rows.
        left: Its first column on the canvas.
        top: Its first row on the canvas.
    """

    canvas: tuple[int, int]
    data: bytes
    width: int
    height: int
    left: int = 0
    top: int = 0


def read_still(data: bytes) -> Still:
    """Return the picture of a WebP file, of an animation the first frame.

    Raises:
        ImageTruncated: The file is shorter than its RIFF header says, or ends within the picture.
        ImageUndecodable: There is no picture, it has another size than its header, or exceeds its canvas.
    """
    # The RIFF length counts the last chunk's padding, which some writers leave out.
    if len(data) + 1 < _RIFF_BYTES + int.from_bytes(data[4:8], "little"):
        raise ImageTruncated(f"The WebP ends early, after {len(data)} bytes; send the whole file.")
    width, height = read_size(data)
    if not (data[12:16] == b"VP8X" and data[20] & _ANIMATION_FLAG):
        return Still(
            (width, height), _in_riff(data, _FIRST_CHUNK_AT, len(data), width, height), width, height
        )
    for kind, start, end in _chunks(data, _FIRST_CHUNK_AT, len(data)):
        if kind == b"ANMF" and end - start >= _FRAME_HEADER_BYTES:
            left, top, *sides = (
                int.from_bytes(data[at : at + 3], "little") for at in range(start, start + 12, 3)
            )
            frame_width, frame_height = sides[0] + 1, sides[1] + 1
            if 2 * left + frame_width > width or 2 * top + frame_height > height:
                raise ImageUndecodable("A frame of the WebP exceeds its canvas; export it again.")
            picture = _in_riff(
                data, start + _FRAME_HEADER_BYTES, min(end, len(data)), frame_width, frame_height
            )
            return Still((width, height), picture, frame_width, frame_height, 2 * left, 2 * top)
    raise ImageUndecodable("The WebP announces an animation, but has no frame; export it again.")


def _in_riff(data: bytes, start: int, end: int, width: int, height: int) -> bytes:
    """Return the picture between `start` and `end`, with its alpha, as a file of its own."""
    alpha = b""
    for kind, at, stop in _chunks(data, start, end):
        if stop > len(data):
            raise ImageTruncated(f"The WebP ends early, after {len(data)} bytes; send the whole file.")
        chunk = kind + (stop - at).to_bytes(4, "little") + data[at:stop] + b"\0" * ((stop - at) & 1)
        if kind == b"ALPH" and not alpha:
            alpha = chunk
        if kind in (b"VP8 ", b"VP8L"):
            # The decoder allocates the picture's own size, whatever the canvas or the frame says.
            if _picture_size(kind, data[at : at + _PICTURE_HEADER_BYTES]) != (width, height):
                raise ImageUndecodable(
                    "The WebP's picture has another size than its header says; export it again."
                )
            if alpha and kind == b"VP8 ":
                sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
                chunk = b"VP8X\x0a\0\0\0\x10\0\0\0" + sides + alpha + chunk
            return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    raise ImageUndecodable("The WebP has no picture; export it again.")


def _chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each chunk; the end may be beyond the data."""
    for _ in range(_CHUNKS_MAX):
        if start + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, start)
        yield kind, start + 8, start + 8 + length
        start += 8 + length + (length & 1)


def find_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """Return the content of the first chunk of type `wanted`; None if there is none."""
    for kind, start, end in _chunks(data, _FIRST_CHUNK_AT, len(data)):
        if kind == wanted:
            return data[start:end]
    return None
