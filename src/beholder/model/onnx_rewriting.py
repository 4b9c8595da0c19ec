"""Rewrites parts of an ONNX file and leaves the rest where it is, in pieces.

The package onnx could do the same, but is not part of an installation, and copies all weights.

Source: onnx/onnx.proto, IR version 13: the numbers of the fields, and of external_data the keys location,
offset and length.
"""

from collections.abc import Callable, Mapping

from beholder.model.protobuf import BYTES, MALFORMED, Pieces, field, fields

__all__ = ["DATA_LOCATION", "EXTERNAL", "EXTERNAL_DATA", "RAW_DATA", "Change", "rewritten"]

# Message type -> field -> the type of the message in it; only what leads to tensors, and the graph's outputs.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "MainGraph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "MainGraph": {1: "Node", 5: "Initializer", 12: "Output", 15: "Sparse"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
}
# Fields of a tensor, and the value of the third if its numbers are in another file.
RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 9, 13, 14
EXTERNAL = 1
# Attributes of nodes may hold graphs (If, Loop); real models nest a few levels deep.
_DEPTH_MAX = 64

# From a message's type ('Initializer' of the main graph, 'Tensor' elsewhere, or 'Output'), the message and
# the place where it starts in the file, to its new form; None leaves the message, no pieces remove it.
Change = Callable[[str, memoryview, int], Pieces | None]


def rewritten(content: memoryview, change: Change) -> Pieces:
    """Return an ONNX file with its tensors and outputs changed.

    Args:
        content: The file.
        change: Is called for each tensor and output.

    Raises:
        ValueError: It is no ONNX file.
    """
    return _inside(content, "Model", change, at=0, depth=0) or [content]


def _inside(message: memoryview, kind: str, change: Change, *, at: int, depth: int) -> Pieces | None:
    """Return a message with what is in it changed; None if nothing was."""
    if depth > _DEPTH_MAX:
        raise ValueError(MALFORMED)
    children = _FIELDS[kind]
    pieces: Pieces = []
    kept_from = 0
    for number, wire, begin, start, end in fields(message):
        if number not in children or wire != BYTES:
            continue
        child, old = children[number], message[start:end]
        new = (
            _inside(old, child, change, at=at + start, depth=depth + 1)
            if child in _FIELDS
            else change(child, old, at + start)
        )
        if new is not None:
            pieces += [message[kept_from:begin], *(field(number, new) if new else [])]
            kept_from = end
    return [*pieces, message[kept_from:]] if kept_from else None
