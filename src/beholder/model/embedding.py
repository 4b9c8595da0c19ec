"""The embedding of an image: a tensor of a classifier's graph, usually what its last layer reads."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import InferenceFailed, ModelInvalid
from beholder.job.job import Embedding
from beholder.model.openvino_core import import_openvino
from beholder.model.port import ModelSpec
from beholder.model.protobuf import field

__all__ = ["check_embeddings", "embedding_of", "unit_length", "values_in", "with_embedding", "with_output"]

# Fields of ONNX messages. Source: onnx/onnx.proto, IR version 13.
_GRAPH, _OUTPUT, _NAME = 7, 12, 1
_LEAST = 1e-12


def with_embedding(model: Any, name: str, where: str) -> Any:
    """Return OpenVINO's model with what it answers as its first output, and a tensor as its second.

    Args:
        model: With one output, or two of which one is the tensor.
        name: Of the tensor.
        where: The graph's name in messages.

    Raises:
        ModelInvalid: The graph has no such tensor.
    """
    ov = import_openvino()
    ports = [port for node in model.get_ops() for port in node.outputs() if name in port.get_names()]
    if not ports:
        raise ModelInvalid(f"{where}: the graph has no tensor '{name}'; name another as the embedding")
    by_name = {result: name in result.input_value(0).get_names() for result in model.get_results()}
    answers = [result for result, is_embedding in by_name.items() if not is_embedding]
    kept = [result for result, is_embedding in by_name.items() if is_embedding]
    results = [*answers, *(kept or [ov.opset8.result(ports[0])])]
    return ov.Model(results, model.get_parameters(), model.get_friendly_name())


def values_in(shape: Any) -> int:
    """Return how many values a tensor of this shape has for one image; 0 if it is no list of values."""
    sizes = list(shape.to_shape()) if shape.is_static else []
    is_list = bool(sizes) and sizes[0] == 1 and sum(size != 1 for size in sizes) <= 1
    return math.prod(sizes) if is_list else 0


def unit_length(values: Any) -> Any:
    """Return the node of OpenVINO that scales each row of (images, values) to length 1; zeros stay zeros."""
    ov = import_openvino()
    return ov.opset8.normalize_l2(values, np.array([1], np.int64), _LEAST, "max")


def with_output(graph: bytes, name: str) -> bytes:
    """Return an ONNX file with a tensor as a further output; in protobuf, parts of a message add up."""
    value = b"".join(field(_NAME, [name.encode()]))
    return graph + b"".join(field(_GRAPH, [*field(_OUTPUT, [value])]))


def embedding_of(row: NDArray[np.float32]) -> Embedding:
    """Return a row of `Classifier.embed` as results have it, a value in as few digits as a float32 needs."""
    return Embedding(
        len(row), is_normalised=bool(row.any()), values=tuple(float(str(value)) for value in row)
    )


def check_embeddings(rows: NDArray[np.float32], spec: ModelSpec) -> None:
    """Refuse embeddings that cannot be used; raises InferenceFailed, also if the model gives none."""
    if not spec.embedding:
        raise InferenceFailed(f"{spec.reference} gives no embedding")
    if not np.isfinite(rows).all():
        raise InferenceFailed("the model's embedding has values that are no numbers (NaN or infinite)")
