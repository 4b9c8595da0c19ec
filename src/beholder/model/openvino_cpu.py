"""The classifier on OpenVINO's CPU plugin, the default.

Normalisation, layout and softmax are part of the compiled graph: it takes the bytes that `prepare` leaves and
gives probabilities. One size of batch is one compiled graph, compiled and run once in `warm_up`, because a
graph with a dynamic batch prepares itself anew at every change of size (5 ms).
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, JobError, ModelInvalid
from beholder.model.batching import batch_sizes, plan_runs
from beholder.model.folder import read_graph
from beholder.model.memory import release_free_memory
from beholder.model.port import ModelSpec, Preprocessing, PreprocessingKind

__all__ = ["OpenVinoClassifier"]

_INFERENCE_PRECISION = {"fp32": "f32", "bf16": "bf16"}
_RANK_IMAGES, _RANK_CLASSES, _CHANNELS = 4, 2, 3
# Side of the image that warms up a model which takes any size, and two sizes that it is tried on.
_WARM_UP_SIDE = 224
_SIZES_TRIED = ((224, 224), (331, 257))
# How many prepared layers are kept for sizes met before. By default it is 5000, which for a ResNet-18 grew by
# 0.7 MB with every new image size (600 MB after 400 sizes); with 16 it stays at 330 MB, at the same speed.
_PREPARED_LAYERS_MAX = 16


class OpenVinoClassifier:
    """A model folder, ready to run on the CPU."""

    def __init__(
        self, spec: ModelSpec, *, precision: str | None = None, threads: int = 1, batch_max: int = 8
    ) -> None:
        """Take what to run and how; `warm_up` loads it.

        Args:
            spec: The model.
            precision: 'fp32' or 'bf16'; None takes bf16 where the CPU computes in it, fp32 elsewhere.
            threads: How many threads compute one run.
            batch_max: The most images in one run; larger batches become several.
        """
        self._spec = spec
        self._precision = precision
        self._threads = threads
        self._batch_max = batch_max
        self._requests: dict[int, Any] = {}

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        return self._spec

    @property
    def precision(self) -> str:
        """The precision it computes in: 'fp32' or 'bf16'.

        Raises:
            ConfigError: The precision asked for is not one, or this CPU does not compute in it.
        """
        if self._precision is None:
            self._precision = _choose_precision(None)
        return self._precision

    def warm_up(self) -> None:
        """Compile every batch size and run each once, so that the first image waits for nothing.

        Raises:
            ModelInvalid: The graph cannot be read or compiled, or does not fit `model.toml` and the labels.
            ConfigError: The precision asked for is not one, or this CPU does not compute in it.
        """
        self._precision = _choose_precision(self._precision)
        is_as_is = self._spec.preprocessing.kind is PreprocessingKind.AS_IS
        sizes = (1,) if is_as_is else batch_sizes(self._precision, self._batch_max)
        requests = {size: self._compile(size) for size in sizes}
        side = self._spec.preprocessing.size or _WARM_UP_SIDE
        for size, request in requests.items():
            try:
                self._infer(request, np.zeros((size, side, side, _CHANNELS), np.uint8))
            except JobError as error:
                raise ModelInvalid(f"{self._spec.onnx_path}: {error.message}") from error
        self._requests = requests
        release_free_memory()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the softmax probabilities of a batch, in its order.

        Args:
            images: One to any number of images, each as the preprocessing left it.

        Shape:
            images: (height, width, 3) uint8, RGB, each.
            returns: (len(images), classes) float32, each row sums to 1.

        Raises:
            JobError: The graph cannot run images of this size (`as-is` models only).
        """
        if not self._requests:
            self.warm_up()
        probabilities = np.empty((len(images), len(self._spec.labels)), np.float32)
        for run in plan_runs([image.shape for image in images], tuple(self._requests)):
            batch = images[run[0]][np.newaxis] if len(run) == 1 else np.stack([images[i] for i in run])
            probabilities[run] = self._infer(self._requests[len(run)], np.ascontiguousarray(batch))
        return probabilities

    def _infer(self, request: Any, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = batch.shape[1:3]
        try:
            found: NDArray[np.float32] = request.infer(batch, share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            raise JobError(
                f"the model cannot run an image of {width} x {height} pixels: {_first_line(error)}"
            ) from error
        # A graph whose last layer needs one image size may take another for more images than there are.
        if found.shape != (len(batch), len(self._spec.labels)):
            raise JobError(
                f"the model cannot run an image of {width} x {height} pixels: it answers with {found.shape}"
            )
        return found

    def _compile(self, batch_size: int) -> Any:
        ov = _openvino()
        core = ov.Core()
        try:
            model = core.read_model(read_graph(self._spec))
            _check(model, self._spec)
            model = _with_ends(model, self._spec, batch_size)
            compiled = core.compile_model(model, "CPU", self._settings())
        except RuntimeError as error:
            raise ModelInvalid(
                f"{self._spec.onnx_path}: OpenVINO cannot use this graph: {_first_line(error)}"
            ) from error
        return compiled.create_infer_request()

    def _settings(self) -> Mapping[str, Any]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": _INFERENCE_PRECISION[self.precision],
            # Pinned, the threads of several processes land on the same core and halve the throughput.
            "ENABLE_CPU_PINNING": False,
            # Fixed sizes prepare nothing at run time, and do not use it.
            "CPU_RUNTIME_CACHE_CAPACITY": _PREPARED_LAYERS_MAX,
        }


def _openvino() -> Any:
    """Import OpenVINO, without its model converter.

    The converter is optional to the package (openvino/__init__.py imports it and passes over an ImportError)
    and brings in an HTTP client and telemetry: 11 MB and 50 ms for every worker, for nothing that runs here.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        return importlib.import_module("openvino")
    # None in sys.modules is Python's way to say that a module cannot be imported.
    sys.modules[converter] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[converter]


def _choose_precision(wanted: str | None) -> str:
    if wanted not in (None, *_INFERENCE_PRECISION):
        raise ConfigError(f"precision '{wanted}' is not known; write 'fp32', 'bf16', or nothing")
    if wanted == "fp32":
        return wanted
    has_bf16 = "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted == "bf16" and not has_bf16:
        raise ConfigError("this CPU does not compute in bf16; write precision 'fp32', or leave it out")
    return "bf16" if has_bf16 else "fp32"


def _check(model: Any, spec: ModelSpec) -> None:
    """Report everything in which the graph differs from what a classifier of `spec` must be."""
    problems = []
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        problems.append(
            f"the graph has {len(model.inputs)} inputs and {len(model.outputs)} outputs; "
            "export it with one image input and one output of a value for each class"
        )
    else:
        shape, classes = model.inputs[0].partial_shape, model.outputs[0].partial_shape
        if shape.rank != _RANK_IMAGES or shape[1] != _CHANNELS:
            problems.append(f"the input has shape {shape}; export the graph with (n, 3, height, width)")
        if classes.rank != _RANK_CLASSES:
            problems.append(f"the output has shape {classes}; export the graph with (n, classes)")
        elif classes[1].is_static and classes[1].get_length() != len(spec.labels):
            problems.append(
                f"the graph has {classes[1].get_length()} classes, the label file {len(spec.labels)} names; "
                "use the label file that belongs to the graph"
            )
    if problems:
        raise ModelInvalid([f"{spec.onnx_path}: {problem}" for problem in problems])


def _check_takes_any_size(model: Any, spec: ModelSpec) -> None:
    """Refuse a graph that an `as-is` model cannot be.

    Once compiled for any size, OpenVINO 2026.4 no longer compares the size of an image with what a fully
    connected layer takes: it computes with whatever lies behind the image in memory.
    """
    ov = _openvino()
    for height, width in _SIZES_TRIED:
        try:
            model.reshape(ov.PartialShape([1, _CHANNELS, height, width]))
            takes_it = model.outputs[0].partial_shape == ov.PartialShape([1, len(spec.labels)])
        except RuntimeError:
            takes_it = False
        if not takes_it:
            raise ModelInvalid(
                f"{spec.onnx_path}: the graph cannot run an image of {width} x {height} pixels, and an as-is "
                "model meets images of any size; use kind = 'centre-crop' with the size that it takes"
            )


def _with_ends(model: Any, spec: ModelSpec, batch_size: int) -> Any:
    """Return the graph from uint8 images (n, height, width, 3) to probabilities."""
    ov = _openvino()
    preprocessing: Preprocessing = spec.preprocessing
    if preprocessing.size is None:
        _check_takes_any_size(model, spec)
    side = -1 if preprocessing.size is None else preprocessing.size
    model.reshape(ov.PartialShape([batch_size, _CHANNELS, side, side]))
    steps = ov.preprocess.PrePostProcessor(model)
    image = steps.input()
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    image.model().set_layout(ov.Layout("NCHW"))
    normalise = image.preprocess().convert_element_type(ov.Type.f32)
    normalise.mean(list(preprocessing.mean)).scale(list(preprocessing.scale))
    steps.output().tensor().set_element_type(ov.Type.f32)
    model = steps.build()
    if spec.outputs_probabilities:
        return model
    logits = model.get_results()[0].input_value(0)
    return ov.Model([ov.opset8.softmax(logits, axis=1)], model.get_parameters(), spec.name)


def _first_line(error: RuntimeError) -> str:
    """Return what matters of OpenVINO's message, which opens with lines that name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or ["no reason given"])[0]
