"""The chunks of a PNG file, read without decoding.

Source: W3C, Portable Network Graphics specification (third edition), sections 5 and 11.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator

from beholder.errors import ImageHeaderInvalid, ImageTruncated, ImageUndecodable

__all__ = ["bit_depth", "essential", "find_chunk", "read_size"]

_SIGNATURE_BYTES = 8
_HEADER_END = 33
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_KEPT = frozenset((b"IHDR", b"tRNS", b"IDAT", b"IEND"))  # and PLTE, in palette images
_COLOUR_AT, _PALETTE_COLOUR = 25, 3
_CHUNK = struct.Struct(">I4s")
_IHDR = struct.Struct(">I4sIIBBBBB")
_CHUNKS_MAX = 100_000  # each costs a microsecond; 20 MB in chunks of 8 kB are 2,500
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Adam7: the first column and row of each pass, and its steps.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATE_BYTES, _PIECE_BYTES = 1 << 18, 1 << 16  # out and in, at a time
_IS_ANCILLARY = 0x20  # the bit that makes the chunk type's first letter lower case


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        ImageHeaderInvalid: The file does not begin with a valid IHDR chunk.
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
    """Return the file with only the chunks that the pixels need, every checksum verified, the data in one.

    Texts and profiles are dropped unread, so that they cannot swell in the decoder. So are the frames of an
    animation, which leaves its still picture; damaged transparency, as browsers do it; and a suggested
    palette.

    Raises:
        ImageTruncated: The data ends before the IEND chunk, or has too few rows.
        ImageUndecodable: A checksum is wrong, a critical chunk is unknown, or there are too many chunks.
    """
    has_palette = data[_COLOUR_AT] == _PALETTE_COLOUR
    parts: list[bytes | memoryview] = [data[:_SIGNATURE_BYTES]]
    packed = []
    for kind, chunk in _chunks(data):
        if kind == b"tRNS" and not _is_sound(chunk):
            continue
        is_kept = kind in _KEPT or (kind == b"PLTE" and has_palette)
        if is_kept and not _is_sound(chunk):
            raise ImageUndecodable(
                f"A checksum of the PNG is wrong (chunk {kind.decode()}); export it again."
            )
        if kind == b"IDAT":
            packed.append(chunk[8:-4])
        elif is_kept:
            parts.append(chunk)
        elif not kind[0] & _IS_ANCILLARY and kind != b"PLTE":
            raise ImageUndecodable(
                "The PNG has a critical chunk that is not in the standard; export it again."
            )
    rows = b"".join(packed)
    if not _has_all_rows(rows, _raw_bytes(data)):
        raise ImageTruncated(
            f"The PNG ends after {len(data)} bytes, before its last row; send the whole file."
        )
    checksum = zlib.crc32(rows, zlib.crc32(b"IDAT"))
    parts[-1:-1] = [_CHUNK.pack(len(rows), b"IDAT"), rows, checksum.to_bytes(4, "big")]
    return b"".join(parts)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield each chunk's type and bytes, up to and with IEND."""
    position, view = _SIGNATURE_BYTES, memoryview(data)
    for _ in range(_CHUNKS_MAX):
        if position + 12 > len(data):  # length, type and checksum
            break
        length, kind = _CHUNK.unpack_from(data, position)
        end = position + 12 + length
        if end > len(data):
            break
        yield kind, view[position:end]
        if kind == b"IEND":
            return
        position = end
    else:
        raise ImageUndecodable(f"The PNG has more than {_CHUNKS_MAX} chunks; export it again.")
    raise ImageTruncated(f"The PNG ends after {len(data)} bytes, before its last chunk; send the whole file.")


def _is_sound(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _has_all_rows(packed: bytes, missing: int) -> bool:
    """Say whether the compressed data is valid and long enough for `missing` bytes of rows.

    Pillow leaves missing rows black if a stream ends early but properly. No more is inflated than the header
    promises, however long the stream is.
    """
    inflater = zlib.decompressobj()
    for at in range(0, len(packed), _PIECE_BYTES):
        piece = packed[at : at + _PIECE_BYTES]
        while missing > 0:
            rows = inflater.decompress(piece, min(missing, _INFLATE_BYTES))
            piece = inflater.unconsumed_tail
            missing -= len(rows)
            if not rows and not piece:
                break  # the inflater is empty
        if missing <= 0 or inflater.eof:
            break
    return missing <= 0


def _raw_bytes(data: bytes) -> int:
    """Return the length of the inflated rows, each with its filter byte."""
    _, _, width, height, depth, colour, _, _, interlace = _IHDR.unpack_from(data, _SIGNATURE_BYTES)
    bits = depth * _CHANNELS[colour]
    total = 0
    for left, top, right_step, down_step in _PASSES if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right_step), -(-(height - top) // down_step)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def find_chunk(data: bytes, wanted: bytes) -> bytes | None:
    """Return the content of the first chunk of type `wanted`; None if there is none."""
    with contextlib.suppress(ImageTruncated, ImageUndecodable):  # `essential` reports these
        return next((bytes(chunk[8:-4]) for kind, chunk in _chunks(data) if kind == wanted), None)
    return None
