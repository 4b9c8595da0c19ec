"""The classifier on ONNX Runtime, for instances with a GPU.

The graph stays as it was exported, so numpy does the normalisation and the softmax.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, InferenceFailed, JobError, ModelInvalid
from beholder.model.answers import check_answers, end_of, tempered, warm_up_image
from beholder.model.batching import plan_runs
from beholder.model.embedding import check_embeddings, with_output
from beholder.model.extras import import_extra
from beholder.model.folder import read_graph
from beholder.model.graph import Graph
from beholder.model.graph_check import check_graph
from beholder.model.heap import release_free_memory
from beholder.model.port import ModelSpec

__all__ = ["OnnxRuntimeClassifier"]

# Only fatal errors are logged: others come as exceptions, too.
_LOG_FATAL_ONLY = 4
# Of the length that an embedding is divided by.
_LEAST = 1e-6


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
        """Keep what to run and how; `warm_up` loads it.

        Args:
            spec: The model.
            threads: How many threads compute a run.
            providers: Execution providers in order of preference, such as 'CUDAExecutionProvider'; None takes
                the CPU.
            batch_max: The most images in a run; larger batches become several runs.
        """
        self.spec = spec
        self.precision = "fp32"
        self._threads = threads
        self._providers = list(providers or ["CPUExecutionProvider"])
        self._batch_max = batch_max
        self._session: Any = None
        self._graph: Any = None
        self._sizes: tuple[int, ...] = (1,)
        # Made here, and not in every run.
        self._mean = np.array(spec.preprocessing.mean, np.float32)
        self._scale = np.array(spec.preprocessing.scale, np.float32)

    def warm_up(self) -> None:
        """Load the graph and run each batch size once, so that the first image does not wait for it.

        Raises:
            ModelInvalid: The graph cannot be read, or does not fit `model.toml` and the labels.
            ConfigError: ONNX Runtime is not installed, or lacks a provider asked for.
        """
        content = read_graph(self.spec)
        graph = Graph(content, str(self.spec.onnx_path), embedding=self.spec.embedding)
        check_graph(graph, self.spec)
        side = self.spec.preprocessing.size
        session = self._open(content)
        batch = session.get_inputs()[0].shape[0]
        if isinstance(batch, int) and batch != 1:
            raise ModelInvalid(
                f"{self.spec.onnx_path}: the graph runs {batch} images only; export it with a free first axis"
            )
        is_single = side is None or not graph.takes_batches(side)
        self._sizes = (1,) if is_single else tuple(range(1, self._batch_max + 1))
        self._graph, self._session = graph, session
        for count in self._sizes:
            try:
                self._infer(np.stack([warm_up_image(side or graph.reference)] * count))
            except JobError as error:
                if count > 1:
                    # A layer fixes the number of images; OpenVINO may read it more leniently.
                    self._sizes = (1,)
                    break
                self._session = None
                raise ModelInvalid(f"{self.spec.onnx_path}: {error.message}") from error
        release_free_memory()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Classifier.classify`.

        Raises:
            JobError: The graph cannot run images of this size (`as-is` models only).
        """
        return self._run(images)[0]

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Classifier.embed`.

        Raises:
            JobError: The model gives none, or the graph cannot run images of this size.
        """
        rows = self._run(images)[1]
        check_embeddings(rows, self.spec)
        return rows

    def _run(self, images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._session is None:
            self.warm_up()
        sizes = (len(self.spec.labels), self.spec.embedding_size)
        probabilities, embeddings = (np.full((len(images), size), np.nan, np.float32) for size in sizes)
        for run in plan_runs([image.shape for image in images], self._sizes):
            probabilities[run], embeddings[run] = self._infer(np.stack([images[i] for i in run]))
        return probabilities, embeddings

    def _open(self, content: bytes | Path) -> Any:
        ort = import_extra("onnxruntime", "onnxruntime")
        missing = [name for name in self._providers if name not in ort.get_available_providers()]
        if missing:
            there = ", ".join(ort.get_available_providers())
            raise ConfigError(f"this ONNX Runtime has no {', '.join(missing)}; it has {there}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_FATAL_ONLY
        # It is what answers are compared with. Weights in the order of its own kernels, beside those of the
        # file, would double the memory of an import.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        try:
            session = ort.InferenceSession(content, options, providers=self._providers)
            inner = self.spec.embedding
            if inner and inner not in [one.name for one in session.get_outputs()]:
                whole = content if isinstance(content, bytes) else content.read_bytes()
                session = ort.InferenceSession(with_output(whole, inner), options, providers=self._providers)
        # Its errors have no base class in common but Exception.
        except _runtime_errors(ort) as error:
            raise ModelInvalid(
                f"{self.spec.onnx_path}: ONNX Runtime cannot use this graph: {error}"
            ) from error
        return session

    def _infer(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width = batch.shape[1:3]
        self._graph.check_size(height, width)
        ort = import_extra("onnxruntime", "onnxruntime")
        try:
            names = [one.name for one in self._session.get_outputs()]
            answers = [name for name in names if name != self.spec.embedding]
            wanted = answers + [self.spec.embedding][: len(self.spec.embedding)]
            values, *more = self._session.run(
                wanted, {self._session.get_inputs()[0].name: self._input(batch)}
            )
        except _runtime_errors(ort) as error:
            raise InferenceFailed(
                f"the model failed on an image of {width} x {height} pixels: {error}"
            ) from error
        expected = (len(batch), len(self.spec.labels))
        if values.shape[:1] != expected[:1] or values.size != expected[0] * expected[1]:
            raise InferenceFailed(f"the model answers with the shape {values.shape} and not {expected}")
        values = values.reshape(expected).astype(np.float32)
        found = _ENDS[end_of(self.spec)](values)
        check_answers(found, self.spec)
        rows = np.zeros((len(batch), 0), np.float32)
        if more:
            rows = more[0].reshape(len(batch), self.spec.embedding_size).astype(np.float32)
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST)
        return tempered(found, self.spec), rows

    def _input(self, batch: NDArray[np.uint8]) -> NDArray[Any]:
        if self._graph.element != "uint8":
            batch = ((batch - self._mean) / self._scale).astype(self._graph.element)
        return np.ascontiguousarray(batch if self._graph.is_nhwc else batch.transpose(0, 3, 1, 2))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    # The largest logit becomes 0, so that no exponential overflows. Infinite logits become NaN, which
    # `check_answers` refuses.
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    # By the hyperbolic tangent, no exponential overflows.
    values: NDArray[np.float32] = ((1 + np.tanh(logits / 2)) / 2).astype(np.float32)
    return values


_ENDS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "": lambda values: values,
    "softmax": _softmax,
    "sigmoid": _sigmoid,
}


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
