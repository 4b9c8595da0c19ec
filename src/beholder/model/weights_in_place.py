"""Lets OpenVINO map a graph's weights instead of copying them.

OpenVINO maps weights that a graph keeps in another file, and copies those inside the graph's own file twice.
So it gets the graph without its large weights, which refers to the places in the first file where they are.
"""

import tempfile
from pathlib import Path
from typing import Any

from beholder.model.mapped_file import map_file
from beholder.model.onnx_rewriting import DATA_LOCATION, EXTERNAL, EXTERNAL_DATA, RAW_DATA, rewritten
from beholder.model.protobuf import BYTES, VARINT, Pieces, field, fields

__all__ = ["read_graph_in_place"]

# Smaller tensors may be shapes and the like, whose values decide how the graph is read.
_BYTES_MIN = 65_536


def read_graph_in_place(core: Any, content: bytes | Path) -> Any:
    """Return OpenVINO's model of an ONNX file.

    Args:
        core: OpenVINO's.
        content: The file's bytes; or its path: then its weights stay in it, so it must not be shortened while
            the model is in use.

    Raises:
        RuntimeError: OpenVINO cannot read it.
    """
    if isinstance(content, bytes):
        return core.read_model(content)
    try:
        return _read(core, content)
    except OSError:
        # OpenVINO looks for weights beside the graph, and no file can be made in a folder of another user.
        return core.read_model(content)


def _read(core: Any, path: Path) -> Any:
    content = map_file(path)

    def change(kind: str, message: memoryview, at: int) -> Pieces | None:
        return _referring(message, at, path.name) if kind == "Initializer" else None

    try:
        graph = rewritten(content, change)
    except ValueError as error:
        raise RuntimeError(str(error)) from error
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".graph-", suffix=".onnx") as file:
        file.writelines(graph)
        file.flush()
        return core.read_model(file.name)


def _referring(tensor: memoryview, at: int, location: str) -> Pieces | None:
    """Return a tensor that refers to its numbers; None if it has few in it."""
    kept: Pieces = []
    place: tuple[int, int] | None = None
    for number, wire, begin, start, end in fields(tensor):
        if number == RAW_DATA and wire == BYTES:
            place = (at + start, end - start)
        else:
            kept.append(tensor[begin:end])
    if place is None or place[1] < _BYTES_MIN:
        return None
    entries = {"location": location, "offset": str(place[0]), "length": str(place[1])}
    for key, value in entries.items():
        kept += field(EXTERNAL_DATA, [*field(1, [key.encode()]), *field(2, [value.encode()])])
    return [*kept, bytes([DATA_LOCATION << 3 | VARINT, EXTERNAL])]
