"""The picture in a HEIC or AVIF file, read without decoding: its size, its orientation and its coded data.

Source: ISO/IEC 23008-12:2022, section 6 (HEIF: image items and their properties); AOMedia,
AV1 Image File Format v1.1.0, section 2.
"""

import struct
from dataclasses import dataclass, replace

from beholder.errors import ImageHeaderInvalid, ImageTypeUnsupported
from beholder.model.decode.bitstreams import av1_sizes, hevc_sizes
from beholder.model.decode.heif_items import DAMAGED, GRID, Item, ItemFile

__all__ = [
    "CODECS",
    "Picture",
    "brands",
    "read_decoder_bytes",
    "read_orientation",
    "read_picture",
    "read_size",
]

CODECS = {b"av01": b"av1C", b"hvc1": b"hvcC"}  # an item's kind, and the property that describes its data
_FRAMES_MAX = 4  # of one item; more are no still picture
_ALIGNMENT = 64  # coded data may be so much wider and higher than the picture
_KEPT = frozenset((b"ispe", b"pixi", b"colr", b"auxC", *CODECS.values()))
# Bytes of a pixel in colours, and copies of the decoded pixel, that are held at once; measured.
_MEMORY = {b"av01": (11, 2.0), b"hvc1": (4, 2.5)}
_CLEAR_BYTES = 2  # more of a pixel in colours that has transparency

_Grid = tuple[tuple[int, ...], ...]
_AS_STORED: _Grid = ((0, 1), (2, 3))
# Where the four corners of the stored picture are once it is upright, by Exif orientation.
_ORIENTATIONS: dict[_Grid, int] = {
    ((0, 1), (2, 3)): 1,
    ((1, 0), (3, 2)): 2,
    ((3, 2), (1, 0)): 3,
    ((2, 3), (0, 1)): 4,
    ((0, 2), (1, 3)): 5,
    ((2, 0), (3, 1)): 6,
    ((3, 1), (2, 0)): 7,
    ((1, 3), (0, 2)): 8,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """The primary item of a file, with what it is made of.

    Args:
        codec: The kind of all coded items.
        items: The primary item first, then its tiles, then its transparency and the tiles of that; numbers of
            items are places here.
        data: The data of each item.
        pixel_bytes: Bytes of a decoded pixel with its transparency, before it is converted to colours.
    """

    codec: bytes
    items: tuple[Item, ...]
    data: tuple[bytes, ...]
    pixel_bytes: float


def brands(data: bytes) -> set[bytes]:
    """Return the brands that a file's first box names; empty if it is no such file."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), 256, len(data))
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the primary item, before it is turned or mirrored.

    Raises:
        ImageHeaderInvalid: The boxes are damaged, or name no picture with a size.
        ImageTypeUnsupported: The picture is of a kind that is not read here, or not as large as it says.
    """
    return read_picture(data).items[0].size


def read_decoder_bytes(data: bytes) -> int:
    """Return how much memory decoding takes.

    Raises:
        ImageHeaderInvalid: The boxes are damaged, or name no picture with a size.
        ImageTypeUnsupported: The picture is of a kind that is not read here, or not as large as it says.
    """
    picture = read_picture(data)
    width, height = picture.items[0].size
    colours, copies = _MEMORY[picture.codec]
    clear = _CLEAR_BYTES if picture.items[0].alpha else 0
    return round(width * height * (colours + clear + copies * picture.pixel_bytes))


def read_orientation(data: bytes) -> int:
    """Return the Exif orientation, 1 to 8, that has the effect of the picture's own properties.

    Exif is not looked at: such a file turns and mirrors its picture by properties alone.
    """
    corners = _AS_STORED
    for kind, content in ItemFile(data).primary().properties:
        if kind == b"irot" and content:
            for _ in range(content[0] & 3):  # quarter turns, anticlockwise
                corners = tuple(zip(*corners, strict=True))[::-1]
        if kind == b"imir" and content:
            corners = tuple(row[::-1] for row in corners) if content[0] & 1 else corners[::-1]
    return _ORIENTATIONS[corners]


def read_picture(data: bytes) -> Picture:
    """Return the primary item and what it is made of; every part is within the file and as large as it says.

    Raises:
        ImageHeaderInvalid: The boxes are damaged, or name no picture with a size.
        ImageTypeUnsupported: The picture is of a kind that is not read here, or not as large as it says.
    """
    file = ItemFile(data)
    primary = file.primary()
    items = [primary, *_members(file, primary)]
    if alpha := file.alpha_of_primary():
        items.append(replace(alpha, alpha=0))
        items += _members(file, alpha)
    codec = items[1].kind if primary.tiles else primary.kind
    parts = file.data_of(items)
    pixel_bytes = [_checked(file, item, part, codec) for item, part in zip(items, parts, strict=True)]
    if alpha and alpha.size != primary.size:
        raise ImageHeaderInvalid(f"The image's transparency has another size than the image; {DAMAGED}")
    first_alpha = len(primary.tiles) + 1
    held = max(pixel_bytes[:first_alpha]) + max(pixel_bytes[first_alpha:], default=0.0)
    return Picture(codec, _renumbered(items, first_alpha if alpha else 0), parts, held)


def _checked(file: ItemFile, item: Item, data: bytes, codec: bytes) -> float:
    """Return the bytes of a decoded pixel of an item whose data is as large as it says; 0 for a grid."""
    if item.kind == GRID:
        _check_grid(item, data, file.item(item.tiles[0]).size)
        return 0.0
    if item.kind != codec or codec not in CODECS:
        kind = item.kind.decode("latin-1").strip()
        raise ImageTypeUnsupported(f"The image holds data of the kind {kind!r}, which is not read here.")
    return _check_coded(item, data)


def _members(file: ItemFile, item: Item) -> list[Item]:
    """Return the tiles of a grid, all of one kind and size; empty if the item is no grid."""
    if item.kind != GRID:
        return []
    tiles = [file.item(number) for number in item.tiles]
    if not tiles or any(one.size != tiles[0].size or one.kind != tiles[0].kind for one in tiles):
        raise ImageHeaderInvalid(f"The image's tiles are missing or differ; {DAMAGED}")
    return tiles


def _renumbered(items: list[Item], alpha: int) -> tuple[Item, ...]:
    """Return the items with numbers that are places in this list; only what the pixels need is kept."""
    found = []
    for at, item in enumerate(items):
        tiles = tuple(range(at + 1, at + 1 + len(item.tiles))) if item.kind == GRID else ()
        kept = tuple(
            one for one in item.properties if one[0] in _KEPT and one[1][:4] not in (b"prof", b"rICC")
        )
        found.append(replace(item, properties=kept, tiles=tiles, alpha=0 if at else alpha))
    return tuple(found)


def _check_grid(grid: Item, data: bytes, tile: tuple[int, int]) -> None:
    """Refuse a grid whose tiles do not cover it, or by more than a tile."""
    if len(data) < 8:  # noqa: PLR2004 - version, flags, rows, columns, width and height
        raise ImageHeaderInvalid(f"The image's grid is cut off; {DAMAGED}")
    rows, columns = data[2] + 1, data[3] + 1
    sides = struct.unpack_from(">II" if data[1] & 1 else ">HH", data.ljust(12, b"\0"), 4)
    fits = all(
        count * side >= whole > (count - 1) * side
        for count, side, whole in zip((columns, rows), tile, grid.size, strict=True)
    )
    if sides != grid.size or rows * columns != len(grid.tiles) or not fits:
        raise ImageHeaderInvalid(f"The image's tiles do not make up the image; {DAMAGED}")


def _check_coded(item: Item, data: bytes) -> float:
    """Refuse coded data that has another size than its item, or more than a few frames."""
    if item.kind == b"av01":
        sizes = av1_sizes(data)
        frames = len(sizes)
    else:
        sizes, frames = hevc_sizes(item.one(b"hvcC"), data)
    if not sizes or not 1 <= frames <= _FRAMES_MAX:
        raise ImageHeaderInvalid(f"The image's data holds {frames} frames; {DAMAGED}")
    width, height = item.size
    for coded in sizes:
        if not (0 <= coded.width - width < _ALIGNMENT and 0 <= coded.height - height < _ALIGNMENT):
            raise ImageHeaderInvalid(
                f"The image says that it is {width} by {height} pixels, but its data is {coded.width} by "
                f"{coded.height}; export it again."
            )
    return max(coded.pixel_bytes for coded in sizes)
