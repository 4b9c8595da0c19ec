"""Moves weights that an ONNX file keeps in other files into the file itself.

PyTorch's exporter writes weights beside the graph (`model.onnx.data`). Inside the file, the checksum covers
them, both runtimes read them from memory, and no path leads elsewhere. The package onnx could do the same but
is not part of an installation, so this module rewrites the few fields that matter.

Source: onnx/onnx.proto, IR version 13: the numbers of the fields, and of external_data the keys location,
offset and length. Encoding: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from beholder.errors import ModelInvalid

__all__ = ["has_external_data", "read_whole_graph"]

# Message type -> field -> the type of the message in it; only what leads to tensors.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_EXTERNAL = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BITS_MAX = 64
# Attributes of nodes may hold graphs (If, Loop); real models nest a few levels deep.
_DEPTH_MAX = 64
# What a protobuf file can hold.
_BYTES_MAX = 2**31 - 1

_MALFORMED = "no protobuf message"

Read = Callable[[Mapping[str, str]], bytes]


def has_external_data(content: bytes) -> bool:
    """Say whether an ONNX file keeps weights in other files; False for other files."""
    found = []

    def note(entries: Mapping[str, str]) -> bytes:
        found.append(entries)
        return b""

    try:
        _inlined(memoryview(content), "Model", note, 0)
    except ValueError:
        return False
    return bool(found)


def read_whole_graph(path: Path) -> bytes:
    """Return an ONNX file with the weights that it keeps in other files inside.

    Args:
        path: The file; the others are in its folder or below.

    Raises:
        OSError: It cannot be read.
        ModelInvalid: It is no ONNX file, or a file that it refers to is missing, too short, or elsewhere.
    """
    content = path.read_bytes()
    files: dict[str, bytes] = {}

    def read(entries: Mapping[str, str]) -> bytes:
        location = entries.get("location", "")
        if location not in files:
            files[location] = _read_beside(path, location)
        return _part(path, files[location], entries)

    try:
        whole = _inlined(memoryview(content), "Model", read, 0)
    except ValueError as error:
        raise ModelInvalid(f"{path} is no ONNX file, or damaged; export or copy it again") from error
    if len(whole) > _BYTES_MAX:
        raise ModelInvalid(
            f"{path} has more than 2 GB with its weights, more than ONNX can hold; export it in float16"
        )
    return bytes(whole)


def _read_beside(path: Path, location: str) -> bytes:
    """Return a file that the graph refers to, which must be in its folder."""
    parts = PurePosixPath(location).parts
    if not parts or "\\" in location or "\0" in location or location.startswith("/") or ".." in parts:
        raise ModelInvalid(
            f"{path} refers to weights in {location!r}, outside its folder; export it again with the weights "
            "beside it"
        )
    beside = path.parent / location
    if not beside.is_file():
        raise ModelInvalid(f"{path} keeps weights in {location!r}, which is missing; put {beside} there")
    if not beside.resolve().is_relative_to(path.parent.resolve()):
        raise ModelInvalid(
            f"{path} keeps weights in {location!r}, a link that leads out of its folder; "
            "put the file itself there"
        )
    return beside.read_bytes()


def _part(path: Path, file: bytes, entries: Mapping[str, str]) -> bytes:
    location = entries["location"]
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(len(file) - offset)))
    except ValueError as error:
        raise ModelInvalid(f"{path} is damaged: the place of weights in {location!r} is no number") from error
    if offset < 0 or length < 0 or offset + length > len(file):
        raise ModelInvalid(
            f"{path.parent / location} has {len(file)} bytes, and {path} refers to byte {offset + length}; "
            "the file is cut short or another model's: copy both again"
        )
    return file[offset : offset + length]


def _inlined(message: memoryview, kind: str, read: Read, depth: int) -> memoryview | bytes:
    """Return a message with its external data inside; the same object if it has none."""
    if kind == "Tensor":
        return _tensor(message, read)
    if depth > _DEPTH_MAX:
        raise ValueError(_MALFORMED)
    children = _FIELDS[kind]
    pieces: list[memoryview | bytes] = []
    kept_from = 0
    for number, wire, begin, start, end in _fields(message):
        if number not in children or wire != _BYTES:
            continue
        old = message[start:end]
        new = _inlined(old, children[number], read, depth + 1)
        if new is not old:
            pieces += [message[kept_from:begin], _field(number, new)]
            kept_from = end
    return b"".join([*pieces, message[kept_from:]]) if pieces else message


def _tensor(message: memoryview, read: Read) -> memoryview | bytes:
    entries: dict[str, str] = {}
    is_external = False
    kept: list[memoryview | bytes] = []
    for number, wire, begin, start, end in _fields(message):
        if number == _EXTERNAL_DATA and wire == _BYTES:
            key, value = _entry(message[start:end])
            entries[key] = value
        elif number == _DATA_LOCATION and wire == _VARINT:
            is_external = _varint(message, start)[0] == _EXTERNAL
        else:
            kept.append(message[begin:end])
    return b"".join([*kept, _field(_RAW_DATA, read(entries))]) if is_external else message


def _entry(message: memoryview) -> tuple[str, str]:
    texts = {number: bytes(message[start:end]) for number, _, _, start, end in _fields(message)}
    try:
        return texts.get(1, b"").decode(), texts.get(2, b"").decode()
    except UnicodeDecodeError as error:
        raise ValueError(_MALFORMED) from error


def _fields(message: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield each field's number and wire type, where it begins, and where its value starts and ends."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        wire, start = tag & 7, at
        if wire == _VARINT:
            at = _varint(message, at)[1]
        elif wire == _BYTES:
            length, start = _varint(message, at)
            at = start + length
        elif wire in _WIDTHS:
            at += _WIDTHS[wire]
        else:
            raise ValueError(_MALFORMED)
        if at > len(message):
            raise ValueError(_MALFORMED)
        yield tag >> 3, wire, begin, start, at


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < _VARINT_BITS_MAX:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 -- the highest bit says that more follows
            return value, at
        shift += 7
    raise ValueError(_MALFORMED)


def _field(number: int, value: memoryview | bytes) -> bytes:
    head = bytearray()
    for rest in (number << 3 | _BYTES, len(value)):
        while rest > 0x7F:  # noqa: PLR2004
            head.append(rest & 0x7F | 0x80)
            rest >>= 7  # noqa: PLW2901 -- seven bits at a time
        head.append(rest)
    return b"".join([head, value])
