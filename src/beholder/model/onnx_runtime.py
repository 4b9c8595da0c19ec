"""The classifier on ONNX Runtime, for instances with a GPU; the same contract as the one on OpenVINO.

Normalisation and softmax are done here in numpy, because the graph stays as it was exported.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, JobError, ModelInvalid
from beholder.model.batching import plan_runs
from beholder.model.extras import import_extra
from beholder.model.folder import read_graph
from beholder.model.memory import release_free_memory
from beholder.model.port import ModelSpec, PreprocessingKind

__all__ = ["OnnxRuntimeClassifier"]

_RANK_IMAGES, _RANK_CLASSES, _CHANNELS = 4, 2, 3
# What warms up a model that takes any size: two sizes, to find out whether it does.
_SIZES_TRIED = ((224, 224), (331, 257))
_LOG_ERRORS_ONLY = 3


class OnnxRuntimeClassifier:
    """A model folder, ready to run on ONNX Runtime."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
        batch_max: int = 8,
    ) -> None:
        """Take what to run and how; `warm_up` loads it.

        Args:
            spec: The model.
            threads: How many threads compute one run.
            providers: Execution providers in order of preference, such as 'CUDAExecutionProvider'; None takes
                the CPU's.
            batch_max: The most images in one run; larger batches become several.
        """
        self._spec = spec
        self._threads = threads
        self._providers = list(providers or ["CPUExecutionProvider"])
        self._batch_max = batch_max
        self._session: Any = None
        self._sizes: tuple[int, ...] = (1,)
        # Once here and not in every run: the same shape as an image.
        self._mean = np.array(spec.preprocessing.mean, np.float32)
        self._scale = np.array(spec.preprocessing.scale, np.float32)

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        return self._spec

    @property
    def precision(self) -> str:
        """The precision it computes in: 'fp32', always."""
        return "fp32"

    def warm_up(self) -> None:
        """Load the graph and run each batch size once, so that the first image waits for nothing.

        Raises:
            ModelInvalid: The graph cannot be read, or does not fit `model.toml` and the labels.
            ConfigError: ONNX Runtime is not installed, or lacks a provider asked for.
        """
        session = self._open()
        _check(session, self._spec)
        batch = session.get_inputs()[0].shape[0]
        is_single = batch == 1 or self._spec.preprocessing.kind is PreprocessingKind.AS_IS
        self._sizes = (1,) if is_single else tuple(range(1, self._batch_max + 1))
        self._session = session
        side = self._spec.preprocessing.size
        for count, size in product(self._sizes, _SIZES_TRIED if side is None else ((side, side),)):
            try:
                found = self._infer(np.zeros((count, *size, _CHANNELS), np.uint8))
            except JobError as error:
                raise ModelInvalid(f"{self._spec.onnx_path}: {error.message}") from error
            _check_classes(found.shape[1], self._spec)
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
        if self._session is None:
            self.warm_up()
        probabilities = np.empty((len(images), len(self._spec.labels)), np.float32)
        for run in plan_runs([image.shape for image in images], self._sizes):
            probabilities[run] = self._infer(np.stack([images[i] for i in run]))
        return probabilities

    def _open(self) -> Any:
        ort = import_extra("onnxruntime", "onnxruntime")
        missing = [name for name in self._providers if name not in ort.get_available_providers()]
        if missing:
            there = ", ".join(ort.get_available_providers())
            raise ConfigError(f"this ONNX Runtime has no {', '.join(missing)}; it has {there}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS_ONLY
        graph = read_graph(self._spec)
        try:
            return ort.InferenceSession(graph, options, providers=self._providers)
        # Its errors share no base class of their own: each derives from Exception or RuntimeError directly.
        except _runtime_errors(ort) as error:
            raise ModelInvalid(
                f"{self._spec.onnx_path}: ONNX Runtime cannot use this graph: {error}"
            ) from error

    def _infer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        normalised = np.ascontiguousarray(((batch - self._mean) / self._scale).transpose(0, 3, 1, 2))
        ort = import_extra("onnxruntime", "onnxruntime")
        try:
            (values,) = self._session.run(None, {self._session.get_inputs()[0].name: normalised})
        except _runtime_errors(ort) as error:
            height, width = batch.shape[1:3]
            raise JobError(f"the model cannot run an image of {width} x {height} pixels: {error}") from error
        found: NDArray[np.float32] = values if self._spec.outputs_probabilities else _softmax(values)
        return found


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    # The largest logit becomes 0, so that no exponential overflows.
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _runtime_errors(ort: Any) -> tuple[type[Exception], ...]:
    state = ort.capi.onnxruntime_pybind11_state
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
    )
    return (RuntimeError, *(getattr(state, name) for name in names))


def _check(session: Any, spec: ModelSpec) -> None:
    """Report everything in which the graph differs from what a classifier of `spec` must be."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    problems = []
    if len(inputs) != 1 or len(outputs) != 1:
        problems.append(
            f"the graph has {len(inputs)} inputs and {len(outputs)} outputs; "
            "export it with one image input and one output of a value for each class"
        )
    else:
        image, classes = inputs[0], outputs[0]
        if len(image.shape) != _RANK_IMAGES or image.shape[1] != _CHANNELS or image.type != "tensor(float)":
            problems.append(
                f"the input is {image.type} {image.shape}; "
                "export the graph with (n, 3, height, width) float32"
            )
        elif isinstance(image.shape[0], int) and image.shape[0] != 1:
            problems.append(f"the graph runs {image.shape[0]} images only; export it with a free first axis")
        if len(classes.shape) != _RANK_CLASSES:
            problems.append(f"the output has shape {classes.shape}; export the graph with (n, classes)")
    if problems:
        raise ModelInvalid([f"{spec.onnx_path}: {problem}" for problem in problems])


def _check_classes(classes: int, spec: ModelSpec) -> None:
    if classes != len(spec.labels):
        raise ModelInvalid(
            f"{spec.onnx_path}: the graph has {classes} classes, the label file {len(spec.labels)} names; "
            "use the label file that belongs to the graph"
        )
