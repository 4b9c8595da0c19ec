"""Reads an ONNX file as exporters write it."""

from pathlib import Path

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.external_data import has_external_data, map_onnx, whole_graph
from beholder.model.onnx_header import OnnxHeader, read_onnx_header
from beholder.model.sources.labels import find_labels
from beholder.model.sources.source import Description, Known, Source, completed
from beholder.model.sources.ultralytics import read_metadata

__all__ = ["read_onnx_file"]

# The operators of classical machine learning, which skl2onnx and its relatives write.
# Source: onnx.ai/onnx/operators, domain ai.onnx.ml, 2026-11-28.
_TABULAR_DOMAIN = "ai.onnx.ml"


def read_onnx_file(file: Path, description: Description, known: Known | None = None) -> Source:
    """Read an ONNX file, with the weights that it keeps in other files.

    Args:
        file: Its path.
        description: What the user says.
        known: What other files say of it; None looks into its metadata.

    Raises:
        ConfigError: A file cannot be read, or an option is needed or has no effect; the message names it.
        ModelInvalid: It is no classifier of images.
    """
    if description.arch is not None:
        raise ConfigError("--arch is for checkpoints; leave it out for an ONNX file")
    try:
        content = map_onnx(file)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; give the path of an ONNX file") from error
    header = read_onnx_header(content, str(file))
    if _TABULAR_DOMAIN in header.opsets:
        raise ModelInvalid(
            f"{file} is a pipeline of scikit-learn or the like (operators of {_TABULAR_DOMAIN}), which takes "
            "a table of numbers; beholder serves graphs that take the pixels of an image"
        )
    known = known or read_metadata(file, header.metadata) or Known("the graph", form=_form(header))
    answer = _answer_of(file, header, description)
    try:
        graph = whole_graph(file, content, [answer, description.embedding])
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; make it readable") from error
    labels, labels_from = find_labels(file, description, known.labels, known.where)
    form = [known.form, f"opset {header.opsets.get('', 1)}"]
    form += [f"by {header.producer}"] if header.producer else []
    form += ["weights from files beside it"] if has_external_data(content) else []
    whole, preprocessing_from = completed(description, known, source=file.name)
    return Source(file, ", ".join(form), graph, labels, labels_from, whole, preprocessing_from)


def _form(header: OnnxHeader) -> str:
    return "TensorFlow or Keras, in ONNX" if header.producer.startswith("tf2onnx") else "ONNX"


def _answer_of(file: Path, header: OnnxHeader, description: Description) -> str:
    """Return the output that has the classes; refuse one that is not there, and a choice that nobody made."""
    wanted, names = description.output, ", ".join(header.outputs)
    if wanted is not None and wanted not in header.outputs:
        raise ConfigError(f"{file} has no output '{wanted}'; its outputs are {names}")
    found = [wanted] if wanted else [name for name in header.outputs if name != description.embedding]
    if len(found) != 1 or found[0] == description.embedding:
        raise ModelInvalid(
            f"{file} has several outputs ({names}); name the one with a value for each class by --output"
        )
    return found[0]
