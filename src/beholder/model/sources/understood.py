"""Says in words what was understood of a model, so that a person sees a mistake before it is served."""

import re

from beholder.model.graph import Graph
from beholder.model.port import Preprocessing
from beholder.model.preprocessing_table import TORCHVISION
from beholder.model.sources.source import Description, Source

__all__ = ["understood"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def understood(source: Source, graph: Graph, settled: Description) -> list[str]:
    """Return a line for each fact: source, input, output, labels, preprocessing.

    Args:
        source: The model as it was read.
        graph: Its graph.
        settled: The description, complete.
    """
    preprocessing = settled.preprocessing or TORCHVISION
    values = "probabilities" if settled.outputs_probabilities else "logits"
    if taken := settled.thresholds:
        least = f"{min(taken):g}" if len(set(taken)) == 1 else f"{min(taken):g} to {max(taken):g}"
        values += f" of several labels, each from {least} on"
    embedding = {}
    if settled.embedding:
        embedding["embedding"] = f"{settled.embedding}: {settled.embedding_size} values, scaled to length 1"
    layout = "NHWC" if graph.is_nhwc else "NCHW"
    size = f"{graph.width or 'any'} x {graph.height or 'any'} pixels"
    batch = f"{graph.batch} at once" if graph.batch else "any number at once"
    raw = ", raw pixels" if graph.element == "uint8" else ""
    facts = {
        "source": source.form,
        "input": f"{graph.input_name}: {graph.element}{raw}, {layout}, {size}, {batch}",
        "output": f"{graph.output_name}: {graph.classes} classes, {values}",
        **embedding,
        "labels": f"{source.labels[0]} ... {source.labels[-1]}, from {source.labels_from}",
        "preprocessing": f"{_in_words(preprocessing)}; from {source.preprocessing_from}",
    }
    # Texts of a hostile model's files may hold commands to the terminal.
    return [_CONTROL.sub("?", f"{fact:<14} {text}") for fact, text in facts.items()]


def _in_words(taken: Preprocessing) -> str:
    crop = f", {taken.crop_fraction:.4g} of the sides" if taken.size else ""
    size = f"{taken.kind} to {taken.size} x {taken.size}" if taken.size else str(taken.kind)
    return f"{size}{crop}, mean {_numbers(taken.mean)}, scale {_numbers(taken.scale)}"


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"
