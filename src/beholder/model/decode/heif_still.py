"""Writes a HEIC or AVIF file that holds one picture and nothing else.

The decoders read this file and never the one that was sent: no Exif, profile, thumbnail, depth, sequence or
property that turns the picture, and no list longer than the picture needs.
"""

import struct

from beholder.model.decode.heif import CODECS, Picture
from beholder.model.decode.heif_items import Item

__all__ = ["essential"]

_BRANDS = {b"av01": b"avif", b"hvc1": b"heic"}
_FULL = b"\0\0\0\0"  # version and flags
_ESSENTIAL = 0x8000


def essential(picture: Picture) -> bytes:
    """Return a file with the picture, upright as it is stored."""
    brand = _BRANDS[picture.codec]
    head = _box(b"ftyp", brand + _FULL + b"mif1" + b"miaf" + brand)
    length = len(_meta(picture, 0))
    start = len(head) + length + 8  # the box of the data has a header
    return b"".join((head, _meta(picture, start), _box(b"mdat", b"".join(picture.data))))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, content: bytes, *, version_and_flags: int = 0) -> bytes:
    return _box(kind, version_and_flags.to_bytes(4) + content)


def _meta(picture: Picture, data_start: int) -> bytes:
    items = picture.items
    infos = b"".join(
        _full(b"infe", struct.pack(">HH4sx", number, 0, item.kind), version_and_flags=2 << 24)
        for number, item in enumerate(items, 1)
    )
    parts = (
        _full(b"hdlr", _FULL + b"pict" + bytes(12) + b"\0"),
        _full(b"pitm", b"\0\1"),
        _full(b"iloc", _places(picture, data_start)),
        _full(b"iinf", len(items).to_bytes(2) + infos),
        _references(items),
        _properties(items),
    )
    return _full(b"meta", b"".join(parts))


def _places(picture: Picture, at: int) -> bytes:
    parts = [b"\x44\0", len(picture.items).to_bytes(2)]  # offsets and lengths of four bytes
    for number, data in enumerate(picture.data, 1):
        parts.append(struct.pack(">HHHII", number, 0, 1, at, len(data)))
        at += len(data)
    return b"".join(parts)


def _references(items: tuple[Item, ...]) -> bytes:
    found = []
    for number, item in enumerate(items, 1):
        if item.tiles:
            to = struct.pack(f">{len(item.tiles)}H", *(tile + 1 for tile in item.tiles))
            found.append(_box(b"dimg", struct.pack(">HH", number, len(item.tiles)) + to))
        if item.alpha:
            found.append(_box(b"auxl", struct.pack(">HHH", item.alpha + 1, 1, number)))
    return _full(b"iref", b"".join(found)) if found else b""


def _properties(items: tuple[Item, ...]) -> bytes:
    known: dict[tuple[bytes, bytes], int] = {}
    entries = []
    for number, item in enumerate(items, 1):
        indexes = [known.setdefault(one, len(known) + 1) for one in item.properties]
        marks = [_ESSENTIAL if kind in CODECS.values() else 0 for kind, _ in item.properties]
        pairs = [mark | index for mark, index in zip(marks, indexes, strict=True)]
        entries.append(struct.pack(f">HB{len(pairs)}H", number, len(pairs), *pairs))
    container = _box(b"ipco", b"".join(_box(*one) for one in known))
    association = _full(b"ipma", len(items).to_bytes(4) + b"".join(entries), version_and_flags=1)
    return _box(b"iprp", container + association)
