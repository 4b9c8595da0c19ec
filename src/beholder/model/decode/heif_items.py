"""The image items of a HEIC or AVIF file: their kinds, properties, places and references.

Source: ISO/IEC 14496-12:2022, sections 4.2 and 8.11 (boxes and items); ISO/IEC 23008-12:2022, section 6
(HEIF: image items and their properties).
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from beholder.errors import ImageHeaderInvalid

__all__ = ["DAMAGED", "GRID", "Item", "ItemFile"]

GRID = b"grid"  # the kind of an item that is made of others
DAMAGED = "the file is damaged or cut off, export it again."
_BOXES_MAX = 4_000
_ITEMS_MAX = 4_000
_TILES_MAX = 900  # libheif reads files of up to 1,000 items
# Places, properties and references of all items together: a grid of 900 tiles has about ten of each.
_ENTRIES_MAX = 40_000
_PROPERTY_BYTES_MAX = 10_000
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_SIZED_BY_FIELD, _WIDE = 1, 16


@dataclass(frozen=True, slots=True)
class Item:
    """An image item.

    Args:
        kind: Four letters, a codec's or `grid`.
        properties: The boxes that describe it, in the order of their association, without their headers.
        extents: Where its data lies in the file.
        tiles: The numbers of the items that a grid is made of, row by row.
        alpha: The number of the item with its transparency; 0 if it is opaque.
    """

    kind: bytes
    properties: tuple[tuple[bytes, bytes], ...] = ()
    extents: tuple[tuple[int, int], ...] = ()
    tiles: tuple[int, ...] = ()
    alpha: int = 0

    def one(self, kind: bytes) -> bytes:
        """Return the content of its first property of a kind; empty if there is none."""
        return next((content for found, content in self.properties if found == kind), b"")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before it is turned or mirrored; zeros if the file does not say."""
        ispe = self.one(b"ispe")
        return struct.unpack_from(">II", ispe, 4) if len(ispe) >= 12 else (0, 0)  # noqa: PLR2004


class ItemFile:
    """The items of a file.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._entries = 0
        top = dict(reversed(list(_boxes(data, 0, len(data)))))
        start, end = top.get(b"meta", (0, 0))
        if not start:
            raise ImageHeaderInvalid(f"The file describes no still picture; {DAMAGED}")
        self._boxes = dict(reversed(list(_boxes(data, start + 4, end))))
        try:
            self._primary = self._number(*self._fields(b"pitm"))
            self._kinds = dict(self._read_kinds())
            self._properties = self._read_properties()
            self._places = dict(self._read_places())
            self._references = list(self._read_references())
        except (struct.error, IndexError) as exc:
            raise ImageHeaderInvalid(f"The image's description is cut off; {DAMAGED}") from exc

    def primary(self) -> Item:
        """Return the item that is the picture."""
        return self.item(self._primary)

    def item(self, number: int) -> Item:
        """Return an item with its tiles."""
        if number not in self._kinds:
            raise ImageHeaderInvalid(f"The image is made of a part that is missing; {DAMAGED}")
        kind = self._kinds[number]
        referred = (to for name, one, to in self._references if (name, one) == (b"dimg", number))
        tiles = next(referred, ()) if kind == GRID else ()
        return Item(
            kind,
            tuple(self._properties.get(number, ())),
            tuple(self._places.get(number, ())),
            tiles,
        )

    def alpha_of_primary(self) -> Item | None:
        """Return the item with the transparency of the picture."""
        for kind, number, to in self._references:
            if kind == b"auxl" and self._primary in to:
                item = self.item(number)
                if item.one(b"auxC")[4:].startswith(_ALPHA):
                    return item
        return None

    def data_of(self, items: Iterable[Item]) -> tuple[bytes, ...]:
        """Return the data of each item, which is no more than the file in all."""
        items = list(items)
        places = [place for item in items for place in item.extents]
        if any(not item.extents for item in items) or any(end > len(self._data) for _, end in places):
            raise ImageHeaderInvalid(f"A part of the image lies outside the file; {DAMAGED}")
        if sum(end - start for start, end in places) > len(self._data):
            raise ImageHeaderInvalid(f"Parts of the image lie upon each other; {DAMAGED}")
        return tuple(b"".join(self._data[start:end] for start, end in item.extents) for item in items)

    def _fields(self, kind: bytes) -> tuple[int, int]:
        """Return the version of a box, and where its fields begin."""
        start, end = self._boxes.get(kind, (0, 0))
        if end - start < 4:  # noqa: PLR2004 - version and flags
            raise ImageHeaderInvalid(f"The image's description lacks a part; {DAMAGED}")
        return self._data[start], start + 4

    def _number(self, version: int, at: int) -> int:
        return self._unpack("I" if version else "H", at)

    def _unpack(self, code: str, at: int) -> int:
        return int(struct.unpack_from(">" + code, self._data, at)[0])

    def _count(self, code: str, at: int) -> int:
        count = self._unpack(code, at)
        if count > _ITEMS_MAX:
            raise ImageHeaderInvalid(f"The file has {count} parts, more than {_ITEMS_MAX}; export it again.")
        return self._counted(count)

    def _counted(self, count: int) -> int:
        """Return a count, once those of all boxes together are within bounds: boxes may share their bytes."""
        self._entries += count
        if self._entries > _ENTRIES_MAX:
            raise ImageHeaderInvalid(
                f"The file describes its parts by more than {_ENTRIES_MAX} entries; export it again."
            )
        return count

    def _read_kinds(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and kind of each item."""
        version, at = self._fields(b"iinf")
        for kind, (start, _) in _boxes(self._data, at + (4 if version else 2), self._boxes[b"iinf"][1]):
            form = self._data[start]
            if kind == b"infe" and form in (2, 3):
                after = start + (8 if form == 3 else 6)  # noqa: PLR2004
                yield self._number(form - 2, start + 4), self._data[after + 2 : after + 6]

    def _read_properties(self) -> dict[int, list[tuple[bytes, bytes]]]:
        """Return the properties of each item."""
        start, end = self._boxes.get(b"iprp", (0, 0))
        parts = list(_boxes(self._data, start, end))
        container = next((place for kind, place in parts if kind == b"ipco"), (0, 0))
        known = [(kind, self._data[at:stop]) for kind, (at, stop) in _boxes(self._data, *container)]
        found: dict[int, list[tuple[bytes, bytes]]] = {}
        for kind, (at, _) in parts:
            if kind == b"ipma":
                self._read_associations(at, known, found)
        return found

    def _read_associations(
        self, at: int, known: list[tuple[bytes, bytes]], found: dict[int, list[tuple[bytes, bytes]]]
    ) -> None:
        version, is_wide = self._data[at], self._data[at + 3] & 1
        count, at = self._count("I", at + 4), at + 8
        for _ in range(count):
            number = self._number(version, at)
            at += 4 if version else 2
            indexes, at = self._counted(self._data[at]), at + 1
            for _ in range(indexes):
                index = self._unpack("H", at) & 0x7FFF if is_wide else self._data[at] & 0x7F
                at += 1 + is_wide
                if 0 < index <= len(known) and len(known[index - 1][1]) <= _PROPERTY_BYTES_MAX:
                    found.setdefault(number, []).append(known[index - 1])

    def _read_places(self) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yield number and extents of each item."""
        version, at = self._fields(b"iloc")
        sizes = self._unpack("H", at)
        widths = [sizes >> shift & 15 for shift in (12, 8, 4, 0)]
        count = self._count("I" if version > 1 else "H", at + 2)
        at += 6 if version > 1 else 4
        inside = self._boxes.get(b"idat", (0, 0))[0]
        for _ in range(count):
            number = self._number(version - 1 if version else 0, at)
            at += 4 if version > 1 else 2
            method = 0
            if version:
                method, at = self._unpack("H", at) & 15, at + 2
            base, at = self._sized(widths[2], at + 2)
            extents, at = self._count("H", at), at + 2
            places = []
            for _ in range(extents):
                at += widths[3] if version else 0
                offset, at = self._sized(widths[0], at)
                length, at = self._sized(widths[1], at)
                begin = base + offset + (inside if method == 1 else 0)
                places.append((begin, begin + length))
            # What lies in other files, or within other items, has no place here.
            yield number, places if method < 2 else []  # noqa: PLR2004

    def _sized(self, width: int, at: int) -> tuple[int, int]:
        """Return a number of so many bytes, and where it ends."""
        if at + width > len(self._data):
            raise IndexError
        return int.from_bytes(self._data[at : at + width]), at + width

    def _read_references(self) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
        """Yield kind, item and referred items of each reference that the pixels may need."""
        if b"iref" not in self._boxes:
            return
        version, at = self._fields(b"iref")
        code, width = ("I", 4) if version else ("H", 2)
        for kind, (start, _) in _boxes(self._data, at, self._boxes[b"iref"][1]):
            count = self._unpack("H", start + width)
            if kind in (b"dimg", b"auxl") and self._counted(count) <= _TILES_MAX:
                to = struct.unpack_from(f">{count}{code}", self._data, start + width + 2)
                yield kind, self._unpack(code, start), to


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the kind of each box, and where its content begins and ends, up to one that exceeds `end`."""
    for _ in range(_BOXES_MAX):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == _SIZED_BY_FIELD and start + _WIDE <= end:
            size, content = int.from_bytes(data[content : start + _WIDE]), start + _WIDE
        stop = start + size if size else end
        if stop < content or stop > end:
            return
        yield kind, (content, stop)
        start = stop
