"""The chunks of a PNG file, read without decoding.

Source: W3C, Portable Network Graphics specification (third edition), sections 5 and 11.
"""

import struct
import zlib

from beholder.errors import ImageHeaderInvalid, ImageTruncated, ImageUndecodable

__all__ = ["bit_depth", "essential", "find_chunk", "has_all_rows", "read_size"]

_SIGNATURE_BYTES = 8
_HEADER_END = 33
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_CHUNK = struct.Struct(">I4s")
_IHDR = struct.Struct(">I4sIIBBBBB")
_CHUNKS_MAX = 100_000  # a walk in search of metadata gives up here
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Adam7: the first column and row of each pass, and its steps.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATE_BYTES = 1 << 18
_IS_ANCILLARY = 0x20  # bit of the chunk type's first letter: lower case


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        ImageHeaderInvalid: The file does not begin with a sound IHDR chunk.
    """
    if len(data) < _HEADER_END:
        raise ImageHeaderInvalid("The PNG ends within its header; send the whole file.")
    length, kind, width, height, depth, colour, *_ = _IHDR.unpack_from(data, _SIGNATURE_BYTES)
    if kind != b"IHDR" or length != 13 or depth not in _BIT_DEPTHS.get(colour, ()):  # noqa: PLR2004 - IHDR's length
        raise ImageHeaderInvalid("The PNG's header makes no sense; the file is damaged, export it again.")
    return int(width), int(height)


def bit_depth(data: bytes) -> int:
    """Return the bits of a sample: 1, 2, 4, 8 or 16."""
    return data[24]


def essential(data: bytes) -> bytes:
    """Return the file with only the chunks that the pixels need, every checksum verified.

    Texts and profiles are dropped unread, so that none can swell in the decoder, and frames of an animation
    likewise; the picture that remains is the one to show where nothing moves.

    Raises:
        ImageTruncated: The data ends before the IEND chunk.
        ImageUndecodable: A checksum is wrong, or a critical chunk is unknown.
    """
    parts = [data[:_SIGNATURE_BYTES]]
    view = memoryview(data)
    position = _SIGNATURE_BYTES
    while position + 12 <= len(data):  # length, type and checksum
        length, kind = _CHUNK.unpack_from(data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if kind in _KEPT:
            if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageUndecodable(
                    f"A checksum of the PNG is wrong (chunk {kind.decode()}); export it again."
                )
            parts.append(data[position:end])
            if kind == b"IEND":
                return b"".join(parts)
        elif not kind[0] & _IS_ANCILLARY:
            raise ImageUndecodable(
                "The PNG has a critical chunk that is not in the standard; export it again."
            )
        position = end
    raise ImageTruncated(f"The PNG ends after {len(data)} bytes, before its last chunk; send the whole file.")


def has_all_rows(data: bytes) -> bool:
    """Say whether the compressed data is sound and long enough for every row.

    Pillow leaves the rows black that a stream ending early, but properly, does not bring. The file is one
    that `essential` returned.
    """
    missing = _raw_bytes(data)
    inflater = zlib.decompressobj()
    view = memoryview(data)
    position = _SIGNATURE_BYTES
    while position < len(data):
        length, kind = _CHUNK.unpack_from(data, position)
        packed: bytes | memoryview = view[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        while missing > 0 and packed and not inflater.eof:
            missing -= len(inflater.decompress(packed, _INFLATE_BYTES))
            packed = inflater.unconsumed_tail
        position += 12 + length
    # What the inflater still holds back belongs to the last row.
    return missing - len(inflater.flush()) <= 0


def _raw_bytes(data: bytes) -> int:
    """Return the length of the picture's rows once inflated, each with its filter byte."""
    _, _, width, height, depth, colour, _, _, interlace = _IHDR.unpack_from(data, _SIGNATURE_BYTES)
    bits = depth * _CHANNELS[colour]
    total = 0
    for left, top, right_step, down_step in _PASSES if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right_step), -(-(height - top) // down_step)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def find_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """Return the content of the first chunk of type `wanted`; None when there is none to be found."""
    position = _SIGNATURE_BYTES
    for _ in range(_CHUNKS_MAX):
        if position + 12 > len(data):
            return None
        length, kind = _CHUNK.unpack_from(data, position)
        if kind == wanted:
            return data[position + 8 : position + 8 + length]
        position += 12 + length
    return None
