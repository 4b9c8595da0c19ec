"""The first directory of a TIFF file, or of an Exif block, read without decoding.

Source: Adobe, TIFF revision 6.0 (3 June 1992), section 2 (structure) and section 15 (tiles).
"""

import struct
from dataclasses import dataclass

from beholder.errors import ImageHeaderInvalid, ImageTypeUnsupported

__all__ = [
    "DirectoryEntry",
    "essential",
    "has_all_data",
    "is_inverted_16_bit",
    "read_decoder_bytes",
    "read_directory",
    "read_orientation",
    "read_size",
    "read_tile_size",
]

_ENTRY_BYTES = 12
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I"}
_SAMPLES, _ROWS_PER_STRIP, _PLANAR = 277, 278, 284
_SEPARATE_PLANES, _YCBCR = 2, 6
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = (
    273,
    279,
    322,
    323,
    324,
    325,
)
_BLOCK_TAGS = frozenset((_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES))
_LONG = 4
_PICTURE_BYTES = 4  # a pixel, at most, as Pillow holds it
_OVERLAP_MAX = 10  # some writers let equal tiles share their bytes; libtiff reads them for each tile
# What the pixels need. Orientation is not kept: it is applied here, and the decoder must not apply it too.
_KEPT = frozenset((254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320))
_KEPT |= frozenset((322, 323, 324, 325, 332, 338, 339, 340, 341, 529, 530, 531, 532))
# 1 none, 5 LZW, 8 and 32946 deflate, 32773 PackBits. Fax (2 to 4) and JPEG (6, 7) are refused: libtiff fills
# their damaged parts with guesses and reports success.
_COMPRESSIONS = frozenset((1, 5, 8, 32773, 32946))
_ENTRIES_MAX = 1_000
_VALUES_MAX = 131_072  # strips or tiles: four for each row of the tallest image
_DAMAGED = "the file is damaged or cut off, export it again."


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One entry of a directory.

    Args:
        raw: Its 12 bytes in the file.
        values: Its values if they are integers, else empty.
    """

    raw: bytes
    values: tuple[int, ...]


def read_directory(data: bytes, wanted: frozenset[int] = _KEPT) -> dict[int, DirectoryEntry]:
    """Return the first entry of each wanted tag in the first directory.

    Raises:
        ImageHeaderInvalid: The directory, or a value of it, is outside the file.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        if count > _ENTRIES_MAX or start + 2 + count * _ENTRY_BYTES > len(data):
            raise ImageHeaderInvalid(
                f"The TIFF's directory of {count} entries does not fit its file; {_DAMAGED}"
            )
        entries: dict[int, DirectoryEntry] = {}
        for at in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
            (tag,) = struct.unpack_from(order + "H", data, at)
            if tag in wanted and tag not in entries:
                entries[tag] = _read_entry(data, at, order)
    except struct.error as exc:
        raise ImageHeaderInvalid(f"The TIFF's directory lies outside the file; {_DAMAGED}") from exc
    return entries


def _read_entry(data: bytes, at: int, order: str) -> DirectoryEntry:
    kind, count = struct.unpack_from(order + "HI", data, at + 2)
    size = _TYPE_BYTES.get(kind, 1) * count
    (start,) = (at + 8,) if size <= 4 else struct.unpack_from(order + "I", data, at + 8)  # noqa: PLR2004 - inline
    if start + size > len(data):
        raise ImageHeaderInvalid(f"A value of the TIFF's directory lies outside the file; {_DAMAGED}")
    if count > _VALUES_MAX:
        raise ImageHeaderInvalid(
            f"The TIFF's directory lists {count} values, more than {_VALUES_MAX}; {_DAMAGED}"
        )
    values: tuple[int, ...] = ()
    if kind in _INTEGERS:
        values = struct.unpack_from(f"{order}{count}{_INTEGERS[kind]}", data, start)
    return DirectoryEntry(data[at : at + _ENTRY_BYTES], values)


def _one(entries: dict[int, DirectoryEntry], tag: int, default: int) -> int:
    """Return the first integer of a tag."""
    entry = entries.get(tag)
    return entry.values[0] if entry and entry.values else default


def _all(entries: dict[int, DirectoryEntry], tag: int) -> tuple[int, ...]:
    """Return every integer of a tag."""
    return entries[tag].values if tag in entries else ()


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the first page.

    Raises:
        ImageHeaderInvalid: The directory is damaged or names no size.
        ImageTypeUnsupported: No decoder here reads the compression.
    """
    entries = read_directory(data, frozenset((_WIDTH, _HEIGHT, _COMPRESSION)))
    width, height = _one(entries, _WIDTH, 0), _one(entries, _HEIGHT, 0)
    if not width or not height:
        raise ImageHeaderInvalid(f"The TIFF says that it is {width} by {height} pixels; {_DAMAGED}")
    compression = _one(entries, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise ImageTypeUnsupported(
            f"This TIFF is compressed by method {compression}, which is not read here; "
            "save it with LZW or deflate."
        )
    return width, height


def read_tile_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a tile; (0, 0) if the picture is in strips."""
    entries = read_directory(data, frozenset((_TILE_WIDTH, _TILE_HEIGHT)))
    return _one(entries, _TILE_WIDTH, 0), _one(entries, _TILE_HEIGHT, 0)


def read_orientation(data: bytes) -> int:
    """Return the orientation as written, 1 if there is none; some writers cut the directory off."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for at in range(start + 2, start + 2 + min(count, _ENTRIES_MAX) * _ENTRY_BYTES, _ENTRY_BYTES):
            if struct.unpack_from(order + "H", data, at) == (_ORIENTATION,):
                return next(iter(_read_entry(data, at, order).values), 1)
    except (struct.error, ImageHeaderInvalid):
        pass  # a damaged orientation is no reason to refuse the picture
    return 1


def is_inverted_16_bit(data: bytes) -> bool:
    """Say whether samples have 16 bits and zero means white."""
    entries = read_directory(data, frozenset((_PHOTOMETRIC, _BITS)))
    return _one(entries, _PHOTOMETRIC, 1) == 0 and _one(entries, _BITS, 1) == 16  # noqa: PLR2004


def has_all_data(data: bytes) -> bool:
    """Say whether the first page lists enough strips or tiles for every row, all of them within the file.

    Pillow leaves missing strips black.
    """
    entries = read_directory(data)
    is_tiled = _TILE_OFFSETS in entries
    starts = _all(entries, _TILE_OFFSETS if is_tiled else _STRIP_OFFSETS)
    lengths = _all(entries, _TILE_BYTES if is_tiled else _STRIP_BYTES) or (0,) * len(starts)
    needed = _blocks_needed(entries)
    if not needed or len(starts) < needed:
        return False
    lengths = lengths[:needed]
    if any(start + length > len(data) for start, length in zip(starts, lengths, strict=False)):
        return False
    if sum(lengths) > _OVERLAP_MAX * len(data):
        raise ImageHeaderInvalid(f"The TIFF's strips or tiles lie upon each other; {_DAMAGED}")
    width, height = _one(entries, _WIDTH, 0), _one(entries, _HEIGHT, 0)
    return is_tiled or sum(lengths) >= _raw_bytes(entries, width, height)


def _block_size(entries: dict[int, DirectoryEntry]) -> tuple[int, int]:
    """Return (width, height) of a tile or strip."""
    width, height = _one(entries, _WIDTH, 0), _one(entries, _HEIGHT, 0)
    if _TILE_OFFSETS in entries:
        return _one(entries, _TILE_WIDTH, 0), _one(entries, _TILE_HEIGHT, 0)
    return width, min(_one(entries, _ROWS_PER_STRIP, height), height)


def _blocks_needed(entries: dict[int, DirectoryEntry]) -> int:
    """Return how many strips or tiles make up the picture; 0 if that makes no sense."""
    columns, rows = _block_size(entries)
    if not columns or not rows:
        return 0
    planes = _one(entries, _SAMPLES, 1) if _one(entries, _PLANAR, 1) == _SEPARATE_PLANES else 1
    return -(-_one(entries, _WIDTH, 0) // columns) * -(-_one(entries, _HEIGHT, 0) // rows) * planes


def read_decoder_bytes(data: bytes) -> int:
    """Return how much memory decoding takes: the picture, and one strip or tile if it is compressed.

    Raises:
        ImageHeaderInvalid: The directory is damaged.
    """
    entries = read_directory(data)
    picture = _PICTURE_BYTES * _one(entries, _WIDTH, 0) * _one(entries, _HEIGHT, 0)
    is_ycbcr = _one(entries, _PHOTOMETRIC, 1) == _YCBCR
    if _one(entries, _COMPRESSION, 1) == 1 and not is_ycbcr:
        return picture
    samples = 1 if _one(entries, _PLANAR, 1) == _SEPARATE_PLANES else _one(entries, _SAMPLES, 1)
    bits = _one(entries, _BITS, 1) * samples + (8 * _PICTURE_BYTES if is_ycbcr else 0)
    columns, rows = _block_size(entries)
    return picture + rows * -(-columns * bits // 8)


def _raw_bytes(entries: dict[int, DirectoryEntry], width: int, height: int) -> int:
    """Return the length of all strips together; 0 if compression or subsampling leaves it open."""
    if _one(entries, _COMPRESSION, 1) != 1 or _one(entries, _PHOTOMETRIC, 1) == _YCBCR:
        return 0
    if _STRIP_BYTES not in entries:
        return 0
    bits = _one(entries, _BITS, 1) * _one(entries, _SAMPLES, 1)
    return height * ((width * bits + 7) // 8)


def essential(data: bytes) -> bytes:
    """Return the file with a first directory that holds only what the pixels need, and no other page.

    The decoder never sees profiles, Exif, private tags, any of which may point at the same bytes many times,
    or strips beyond the last row.

    Raises:
        ImageHeaderInvalid: The directory is damaged.
    """
    order = "<" if data[:2] == b"II" else ">"
    entries = read_directory(data)
    needed = _blocks_needed(entries)
    blocks = b"\0" * (len(data) % 2)  # a directory begins at an even offset
    parts = []
    for tag, entry in sorted(entries.items()):
        raw = entry.raw
        if tag in _BLOCK_TAGS and len(entry.values) > needed:
            values = struct.pack(f"{order}{needed}I", *entry.values[:needed])
            at = values if needed == 1 else struct.pack(order + "I", len(data) + len(blocks))
            raw = struct.pack(order + "HHI", tag, _LONG, needed) + at
            blocks += values
        parts.append(raw)
    directory = struct.pack(order + "H", len(parts)) + b"".join(parts) + b"\0\0\0\0"
    start = struct.pack(order + "I", len(data) + len(blocks))
    return b"".join((data[:4], start, memoryview(data)[8:], blocks, directory))
