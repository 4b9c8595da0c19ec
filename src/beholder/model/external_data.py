"""Moves weights that an ONNX file keeps in other files into the file itself.

PyTorch's exporter writes weights beside the graph (`model.onnx.data`). Inside the file, the checksum covers
them, both runtimes find them, and no path leads elsewhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from beholder.errors import ModelInvalid
from beholder.model.mapped_file import map_file
from beholder.model.onnx_rewriting import DATA_LOCATION, EXTERNAL, EXTERNAL_DATA, RAW_DATA, rewritten
from beholder.model.protobuf import BYTES, MALFORMED, VARINT, Pieces, field, fields, varint

__all__ = ["has_external_data", "map_onnx", "whole_graph"]

# What a protobuf file can hold.
_BYTES_MAX = 2**31 - 1
_OUTPUT = "Output"


def has_external_data(content: memoryview) -> bool:
    """Say whether an ONNX file keeps weights in other files; False for other files."""
    is_found = False

    def note(kind: str, message: memoryview, _: int) -> None:
        nonlocal is_found
        is_found = is_found or (kind != _OUTPUT and _split(message)[0] is not None)

    try:
        rewritten(content, note)
    except ValueError:
        return False
    return is_found


def map_onnx(path: Path) -> memoryview:
    """Return the bytes of an ONNX file, which are read as they are used.

    Raises:
        OSError: It cannot be read.
        ModelInvalid: It is too large to be one.
    """
    if path.stat().st_size > _BYTES_MAX:
        raise _too_large(path)
    return map_file(path)


def whole_graph(path: Path, content: memoryview, outputs: Sequence[str] = ()) -> Pieces:
    """Return an ONNX file with the weights that it keeps in other files inside.

    Args:
        path: The file; the others are in its folder or below.
        content: Its bytes.
        outputs: The names of the outputs that are kept; empty keeps all.

    Raises:
        OSError: It cannot be read.
        ModelInvalid: It is no ONNX file, or a file that it refers to is missing, too short, or elsewhere.
    """
    files: dict[str, memoryview] = {}
    taken = 0

    def change(kind: str, message: memoryview, _: int) -> Pieces | None:
        nonlocal taken
        if kind == _OUTPUT:
            return [] if outputs and _name(message) not in outputs else None
        entries, kept = _split(message)
        if entries is None:
            return None
        location = entries.get("location", "")
        if location not in files:
            files[location] = _map_beside(path, location)
        part = _part(path, files[location], entries)
        # Many tensors may name the same bytes of a file.
        taken += len(part)
        if taken > _BYTES_MAX:
            raise _too_large(path)
        return [*kept, *field(RAW_DATA, [part])]

    try:
        whole = rewritten(content, change)
    except ValueError as error:
        raise ModelInvalid(f"{path} is no ONNX file, or damaged; export or copy it again") from error
    if sum(map(len, whole)) > _BYTES_MAX:
        raise _too_large(path)
    return whole


def _too_large(path: Path) -> ModelInvalid:
    return ModelInvalid(
        f"{path} has more than 2 GB with its weights, more than ONNX can hold; export it in float16"
    )


def _map_beside(path: Path, location: str) -> memoryview:
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
    return map_file(beside)


def _part(path: Path, file: memoryview, entries: Mapping[str, str]) -> memoryview:
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


def _split(tensor: memoryview) -> tuple[dict[str, str] | None, Pieces]:
    """Return where a tensor's numbers are, None if they are in it; and its other fields."""
    entries: dict[str, str] = {}
    is_external = False
    kept: Pieces = []
    for number, wire, begin, start, end in fields(tensor):
        if number == EXTERNAL_DATA and wire == BYTES:
            key, value = _entry(tensor[start:end])
            entries[key] = value
        elif number == DATA_LOCATION and wire == VARINT:
            is_external = varint(tensor, start)[0] == EXTERNAL
        else:
            kept.append(tensor[begin:end])
    return (entries if is_external else None), kept


def _name(value_info: memoryview) -> str:
    for number, wire, _, start, end in fields(value_info):
        if number == 1 and wire == BYTES:
            return bytes(value_info[start:end]).decode(errors="replace")
    return ""


def _entry(message: memoryview) -> tuple[str, str]:
    texts = {number: bytes(message[start:end]) for number, _, _, start, end in fields(message)}
    try:
        return texts.get(1, b"").decode(), texts.get(2, b"").decode()
    except UnicodeDecodeError as error:
        raise ValueError(MALFORMED) from error
