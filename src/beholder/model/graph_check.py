"""Checks that a graph and the `model.toml` beside it are of the same model."""

from beholder.errors import ModelInvalid
from beholder.model.graph import RAW, Graph
from beholder.model.port import ModelSpec

__all__ = ["check_graph"]


def check_graph(graph: Graph, spec: ModelSpec) -> None:
    """Refuse a graph that contradicts `model.toml` or the labels.

    Raises:
        ModelInvalid: The message says what differs.
    """
    where, preprocessing = spec.onnx_path, spec.preprocessing
    graph.check_labels(len(spec.labels), "the label file", is_multi_label=spec.is_multi_label)
    if graph.embedding_size != spec.embedding_size:
        raise ModelInvalid(
            f"{where}: the embedding has {graph.embedding_size} values; write embedding_size = "
            f"{graph.embedding_size}"
        )
    if graph.element == "uint8" and (preprocessing.mean, preprocessing.scale) != RAW:
        raise ModelInvalid(
            f"{where}: the graph takes uint8 and normalises by itself; write mean = 0 and scale = 1"
        )
    if graph.last_operation == "Softmax" and not spec.outputs_probabilities:
        raise ModelInvalid(f'{where}: the graph ends in a softmax; write output = "probabilities"')
    if graph.ends_in_sigmoid and not (spec.is_multi_label and spec.outputs_probabilities):
        raise ModelInvalid(f'{where}: the graph ends in a sigmoid; write output = "sigmoid"')
    if preprocessing.size is None:
        graph.check_takes_any_size()
    else:
        graph.check_side(preprocessing.size)
