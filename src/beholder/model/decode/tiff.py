"""The first directory of a TIFF file, or of an Exif block, read without decoding.

Source: Adobe, TIFF revision 6.0 (3 June 1992), section 2 (structure) and section 15 (tiles); libtiff 4.7,
BigTIFF design (offsets and counts of 8 bytes); IETF, RFC 8878 (February 2021), section 3.1.1.1 (Zstandard).
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

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}  # of BigTIFF
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
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
_BIG_INTEGERS = frozenset((16, 18))
_BLOCK_TAGS = frozenset((_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES))
_LONG = 4
_PICTURE_BYTES = 4  # a pixel, at most, as Pillow holds it
_OVERLAP_MAX = 10  # some writers let equal tiles share their bytes; libtiff reads them for each tile
# What the pixels need. Orientation is not kept: it is applied here, and the decoder must not apply it too.
_KEPT = frozenset((254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320))
_KEPT |= frozenset((322, 323, 324, 325, 332, 338, 339, 340, 341, 529, 530, 531, 532))
_ZSTD = 50_000
# None, LZW, deflate, PackBits and Zstandard.
_COMPRESSIONS = frozenset((1, 5, 8, 32_773, 32_946, _ZSTD))
# Refused: libtiff fills damaged parts of fax and JPEG with guesses and reports success, LZMA may ask for
# gigabytes, and the decoders here lack the others.
_REFUSED = {
    2: "CCITT fax compression",
    3: "CCITT fax compression (group 3)",
    4: "CCITT fax compression (group 4)",
    6: "JPEG compression of the old kind",
    7: "JPEG compression",
    32_766: "NeXT compression",
    32_771: "CCITT fax compression",
    32_809: "ThunderScan compression",
    34_676: "SGI LogLuv compression",
    34_677: "SGI LogLuv compression",
    34_712: "JPEG 2000 compression",
    34_887: "LERC compression",
    34_925: "LZMA compression",
    50_001: "WebP compression",
    50_002: "JPEG XL compression",
}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEAD_BYTES = 14
_ENTRIES_MAX = 1_000
_VALUES_MAX = 131_072  # strips or tiles: four for each row of the tallest image
_DAMAGED = "the file is damaged or cut off, export it again."


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One entry of a directory.

    Args:
        kind: The type of its values.
        content: Its values as they are in the file.
        values: Its values if they are integers, else empty.
    """

    kind: int
    content: bytes
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file writes numbers: the byte order, and as BigTIFF or as TIFF.

    Args:
        order: Of struct.
        offset: The struct code of an offset, and of the number of values in an entry.
        count: The struct code of the number of entries.
        offset_bytes: Of an offset.
    """

    order: str
    offset: str
    count: str
    offset_bytes: int

    @property
    def count_bytes(self) -> int:
        """Bytes of the number of entries."""
        return struct.calcsize(self.count)

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry: tag and type, number of values, and the values or their offset."""
        return 4 + 2 * self.offset_bytes

    def places(self, data: bytes) -> range:
        """Return where the entries of the first directory begin, as far as they are in the file.

        Raises:
            ImageHeaderInvalid: The directory has too many entries, or exceeds the file.
        """
        (start,) = struct.unpack_from(self.order + self.offset, data, self.offset_bytes)
        (count,) = struct.unpack_from(self.order + self.count, data, start)
        begin = start + self.count_bytes
        if count > _ENTRIES_MAX or begin + count * self.entry_bytes > len(data):
            raise ImageHeaderInvalid(
                f"The TIFF's directory of {count} entries does not fit its file; {_DAMAGED}"
            )
        return range(begin, begin + count * self.entry_bytes, self.entry_bytes)

    def tag(self, data: bytes, at: int) -> int:
        """Return the tag of the entry at a place."""
        return int(struct.unpack_from(self.order + "H", data, at)[0])

    def entry(self, data: bytes, at: int) -> DirectoryEntry:
        """Return the entry at a place.

        Raises:
            ImageHeaderInvalid: Its values are outside the file, or too many.
        """
        kind, count = struct.unpack_from(self.order + "H" + self.offset, data, at + 2)
        size, start = _TYPE_BYTES.get(kind, 1) * count, at + 4 + self.offset_bytes
        if size > self.offset_bytes:
            (start,) = struct.unpack_from(self.order + self.offset, data, start)
        if start + size > len(data):
            raise ImageHeaderInvalid(f"A value of the TIFF's directory lies outside the file; {_DAMAGED}")
        if count > _VALUES_MAX:
            raise ImageHeaderInvalid(
                f"The TIFF's directory lists {count} values, more than {_VALUES_MAX}; {_DAMAGED}"
            )
        values: tuple[int, ...] = ()
        if kind in _INTEGERS:
            values = struct.unpack_from(f"{self.order}{count}{_INTEGERS[kind]}", data, start)
        return DirectoryEntry(kind, data[start : start + size], values)


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    return _Layout(order, "Q", "Q", 8) if is_big else _Layout(order, "I", "H", 4)


def read_directory(data: bytes, wanted: frozenset[int] = _KEPT) -> dict[int, DirectoryEntry]:
    """Return the first entry of each wanted tag in the first directory.

    Raises:
        ImageHeaderInvalid: The directory, or a value of it, is outside the file.
    """
    layout = _layout(data)
    entries: dict[int, DirectoryEntry] = {}
    try:
        for at in layout.places(data):
            tag = layout.tag(data, at)
            if tag in wanted and tag not in entries:
                entries[tag] = layout.entry(data, at)
    except (struct.error, OverflowError) as exc:
        raise ImageHeaderInvalid(f"The TIFF's directory lies outside the file; {_DAMAGED}") from exc
    return entries


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
            f"This TIFF has {_REFUSED.get(compression, f'compression {compression}')}, which is not read "
            "here; save it with LZW or deflate."
        )
    return width, height


def read_tile_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a tile; (0, 0) if the picture is in strips."""
    entries = read_directory(data, frozenset((_TILE_WIDTH, _TILE_HEIGHT)))
    return _one(entries, _TILE_WIDTH, 0), _one(entries, _TILE_HEIGHT, 0)


def read_orientation(data: bytes) -> int:
    """Return the orientation as written, 1 if there is none; some writers cut the directory off."""
    layout = _layout(data)
    try:
        (start,) = struct.unpack_from(layout.order + layout.offset, data, layout.offset_bytes)
        (count,) = struct.unpack_from(layout.order + layout.count, data, start)
        for place in range(min(count, _ENTRIES_MAX)):
            at = start + layout.count_bytes + place * layout.entry_bytes
            if layout.tag(data, at) == _ORIENTATION:
                return next(iter(layout.entry(data, at).values), 1)
    except (struct.error, OverflowError, ImageHeaderInvalid):
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
    window = _window_bytes(data, entries) if _one(entries, _COMPRESSION, 1) == _ZSTD else 0
    return picture + window + rows * -(-columns * bits // 8)


def _window_bytes(data: bytes, entries: dict[int, DirectoryEntry]) -> int:
    """Return the largest window that the frame of a strip or tile asks the decoder of Zstandard for."""
    largest = 0
    for start in _all(entries, _TILE_OFFSETS if _TILE_OFFSETS in entries else _STRIP_OFFSETS):
        head = data[start : start + _ZSTD_HEAD_BYTES]
        if not head.startswith(_ZSTD_MAGIC):
            continue  # decoding will fail
        head = head.ljust(_ZSTD_HEAD_BYTES, b"\0")  # the shortest frame has fewer bytes
        if head[4] & 0x20:  # a single segment: the window is the content, its length is after a dictionary
            at = 5 + (0, 1, 2, 4)[head[4] & 3]
            largest = max(largest, int.from_bytes(head[at : at + (1, 2, 4, 8)[head[4] >> 6]], "little"))
        else:
            base = 1 << 10 + (head[5] >> 3)
            largest = max(largest, base + (base >> 3) * (head[5] & 7))
    return largest


def _raw_bytes(entries: dict[int, DirectoryEntry], width: int, height: int) -> int:
    """Return the length of all strips together; 0 if compression or subsampling leaves it open."""
    if _one(entries, _COMPRESSION, 1) != 1 or _one(entries, _PHOTOMETRIC, 1) == _YCBCR:
        return 0
    if _STRIP_BYTES not in entries:
        return 0
    bits = _one(entries, _BITS, 1) * _one(entries, _SAMPLES, 1)
    return height * ((width * bits + 7) // 8)


def essential(data: bytes) -> bytes:
    """Return the file as TIFF with a first directory that holds only what the pixels need, and no other page.

    The decoder never sees profiles, Exif, private tags, any of which may point at the same bytes many times,
    or strips beyond the last row. BigTIFF becomes TIFF: no file here needs offsets of 8 bytes.

    Raises:
        ImageHeaderInvalid: The directory is damaged.
    """
    order = _layout(data).order
    entries = read_directory(data)
    needed = _blocks_needed(entries)
    contents = b"\0" * (len(data) % 2)  # a directory begins at an even offset
    parts = []
    for tag, entry in sorted(entries.items()):
        kind, content = entry.kind, entry.content
        if entry.values and (tag in _BLOCK_TAGS or kind in _BIG_INTEGERS):
            values = entry.values[:needed] if tag in _BLOCK_TAGS else entry.values
            if max(values, default=0) >= 1 << 32:
                raise ImageHeaderInvalid(f"A value of the TIFF's directory lies outside the file; {_DAMAGED}")
            kind, content = _LONG, struct.pack(f"{order}{len(values)}I", *values)
        count = len(content) // _TYPE_BYTES.get(kind, 1)
        place = content.ljust(4, b"\0")
        if len(content) > 4:  # noqa: PLR2004 - no more fits into the entry
            place = struct.pack(order + "I", len(data) + len(contents))
            contents += content + b"\0" * (len(content) % 2)
        parts.append(struct.pack(order + "HHI", tag, kind, count) + place)
    directory = struct.pack(order + "H", len(parts)) + b"".join(parts) + b"\0\0\0\0"
    magic = struct.pack(order + "2sHI", data[:2], 42, len(data) + len(contents))
    return b"".join((magic, memoryview(data)[8:], contents, directory))
