"""Makes the int8 form of a model: ONNX Runtime learns the ranges of its values from photos (ADR 42)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, JobError, ModelInvalid, RequestError
from beholder.model.external_data import map_onnx
from beholder.model.extras import import_extra
from beholder.model.folder import GRAPH_FILE, read_graph, read_model
from beholder.model.graph import Graph
from beholder.model.importing import describe
from beholder.model.new_folder import check_name, new_model_folder
from beholder.model.onnx_header import read_onnx_header
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.sources.source import Description
from beholder.model.verification import Agreement, Photos, Report, verify, warm_up_timed, write_report

__all__ = ["quantize_model"]

_EXTRA = "quantize"
# What its quantiser raises for graphs that it cannot change.
_FAILS = (RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError, NotImplementedError)


def quantize_model(
    spec: ModelSpec,
    destination: Path,
    name: str,
    photos: Photos,
    *,
    load: Callable[[ModelSpec], Classifier],
    tell: Callable[[str], object],
) -> ModelSpec:
    """Make a further model that computes in int8.

    Args:
        spec: The model.
        destination: The folder to make.
        name: Of the new model.
        photos: Such as the model will see; the ranges are learnt from them, and the answers compared on them.
        load: Returns a classifier.
        tell: Receives what was measured, line by line.

    Raises:
        ConfigError: The name cannot be used, a photo cannot be read, or onnxruntime or onnx is missing.
        ModelInvalid: The model cannot be quantised, or most of its answers change.
    """
    check_name(name, destination)
    # The new model's is another.
    spec = replace(spec, temperature=1.0)
    graph = Graph(read_graph(spec), str(spec.onnx_path), embedding=spec.embedding)
    if graph.element != "float32":
        raise ModelInvalid(
            f"{spec.onnx_path}: the graph takes {graph.element}; only float32 is quantised, export it so"
        )
    images = _images(photos, spec.preprocessing)
    before, expected = _measured(spec, graph, images, photos, load)
    with new_model_folder(destination) as folder:
        _quantize(spec, graph, images, folder)
        describe(folder, _described(spec, name, folder), spec.labels)
        try:
            after, found = _measured(read_model(folder), graph, images, photos, load)
        except ModelInvalid as error:
            raise ModelInvalid(
                f"the int8 form of {spec.reference} cannot be used: {error.message}"
            ) from error
        same = int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
        if 2 * same < len(images):
            raise ModelInvalid(
                f"the int8 form of {spec.reference} answers {same} of {len(images)} photos as before; give "
                "more photos of what it knows, or keep it as it is"
            )
        difference = round(float(np.abs(found - expected).max()), 6)
        after = replace(after, agreement=Agreement(spec.reference, "", len(images), same, difference))
        write_report(folder, after)
    tell(before.lines[0].replace("measured", "before  ", 1))
    for line in [*before.lines[2:], *after.lines]:
        tell(line)
    return read_model(destination)


def _described(spec: ModelSpec, name: str, folder: Path) -> Description:
    """Return the description of the int8 form whose graph is in a folder."""
    # The quantiser may change what is inside the graph, and keeps its outputs.
    outputs = read_onnx_header(map_onnx(folder / GRAPH_FILE), str(spec.onnx_path)).outputs
    has_embedding = spec.embedding in outputs
    return Description(
        name,
        version=spec.version,
        licence=spec.licence,
        source=f"int8 of {spec.reference}, {spec.source}",
        outputs_probabilities=spec.outputs_probabilities,
        preprocessing=spec.preprocessing,
        thresholds=spec.thresholds,
        embedding=spec.embedding if has_embedding else "",
        embedding_size=spec.embedding_size if has_embedding else 0,
    )


def _images(photos: Photos, preprocessing: Preprocessing) -> list[NDArray[np.uint8]]:
    """Return the photos as the model gets them; those that cannot be decoded are left out."""
    images = []
    for path in photos.files:
        try:
            images.append(photos.prepare(path.read_bytes(), preprocessing))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; make it readable") from error
        except (RequestError, JobError):
            continue
    if not images:
        raise ConfigError(f"{photos.files[0].parent} has no photo that can be decoded; give others")
    return images


def _measured(
    spec: ModelSpec,
    graph: Graph,
    images: Sequence[NDArray[np.uint8]],
    photos: Photos,
    load: Callable[[ModelSpec], Classifier],
) -> tuple[Report, NDArray[np.float32]]:
    """Load a model; return what is measured of it, and its answers."""
    classifier = load(spec)
    load_s = warm_up_timed(classifier)
    side = spec.preprocessing.size or graph.reference
    try:
        report = verify(spec, classifier, side, load_s=load_s, photos=photos if photos.expected else None)
        return report, np.concatenate([classifier.classify([image]) for image in images])
    except JobError as error:
        raise ModelInvalid(f"{spec.onnx_path}: {error.message}") from error


def _quantize(spec: ModelSpec, graph: Graph, images: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """Write the int8 graph: weights by channel in 7 bits, because CPUs without VNNI add pairs in 16 bits."""
    quantization: Any = import_extra("onnxruntime.quantization", _EXTRA)
    shapes: Any = import_extra("onnxruntime.quantization.shape_inference", _EXTRA)
    prepared = folder / ".prepared.onnx"
    try:
        shapes.quant_pre_process(str(spec.onnx_path), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(folder / GRAPH_FILE),
            _Reader(_inputs(graph, images, spec.preprocessing)),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    except _FAILS as error:
        raise ModelInvalid(f"{spec.onnx_path}: ONNX Runtime cannot quantise this graph: {error}") from error
    finally:
        prepared.unlink(missing_ok=True)


class _Reader:
    """Inputs of the graph, one after the other; a CalibrationDataReader of ONNX Runtime."""

    def __init__(self, inputs: Iterator[dict[str, NDArray[np.float32]]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


def _inputs(
    graph: Graph, images: Sequence[NDArray[np.uint8]], preprocessing: Preprocessing
) -> Iterator[dict[str, NDArray[np.float32]]]:
    mean, scale = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.scale))
    for image in images:
        values = ((image[np.newaxis] - mean) / scale).astype(np.float32)
        values = values if graph.is_nhwc else values.transpose(0, 3, 1, 2)
        yield {graph.input_name: np.ascontiguousarray(values)}
