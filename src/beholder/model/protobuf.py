"""Reads and writes protobuf messages field by field, for the few fields of an ONNX file that matter here.

The packages protobuf and onnx are not part of an installation.

Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

__all__ = ["BYTES", "MALFORMED", "VARINT", "Pieces", "field", "field_head", "fields", "varint"]

# A message in pieces that follow each other: weights stay where they are, such as in a mapped file.
Pieces = list[memoryview | bytes]

VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
MALFORMED = "no protobuf message"
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BITS_MAX = 64


def fields(message: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield each field's number and wire type, where it begins, and where its value starts and ends.

    Raises:
        ValueError: It is no protobuf message.
    """
    at = 0
    while at < len(message):
        begin = at
        tag, at = varint(message, at)
        wire, start = tag & 7, at
        if wire == VARINT:
            at = varint(message, at)[1]
        elif wire == BYTES:
            length, start = varint(message, at)
            at = start + length
        elif wire in _WIDTHS:
            at += _WIDTHS[wire]
        else:
            raise ValueError(MALFORMED)
        if at > len(message):
            raise ValueError(MALFORMED)
        yield tag >> 3, wire, begin, start, at


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it.

    Raises:
        ValueError: It is no protobuf message.
    """
    value = shift = 0
    while at < len(message) and shift < _VARINT_BITS_MAX:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 -- the highest bit says that more follows
            return value, at
        shift += 7
    raise ValueError(MALFORMED)


def field(number: int, value: Pieces) -> Pieces:
    """Return a field that holds bytes, with its head, in pieces."""
    return [field_head(number, sum(map(len, value))), *value]


def field_head(number: int, size: int) -> bytes:
    """Return what stands before the bytes of a field."""
    head = bytearray()
    for rest in (number << 3 | BYTES, size):
        while rest > 0x7F:  # noqa: PLR2004
            head.append(rest & 0x7F | 0x80)
            rest >>= 7  # noqa: PLW2901 -- seven bits at a time
        head.append(rest)
    return bytes(head)
