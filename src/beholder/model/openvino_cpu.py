"""The classifier on OpenVINO's CPU plugin, the default.

Normalisation, layout and softmax are part of the compiled graph: it takes the bytes that `prepare` returns
and gives probabilities. Each batch size has its own graph, compiled and run once in `warm_up`, because a
graph with a dynamic batch prepares itself anew at every change of size (5 ms).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ConfigError, ImageSizeUnsupported, InferenceFailed, JobError, ModelInvalid
from beholder.model.answers import check_answers, end_of, tempered, warm_up_image
from beholder.model.batching import batch_sizes, plan_runs
from beholder.model.embedding import check_embeddings
from beholder.model.folder import read_graph
from beholder.model.graph import Graph
from beholder.model.graph_check import check_graph
from beholder.model.heap import release_free_memory
from beholder.model.openvino_core import compile_model, cpu_capabilities, first_line, import_openvino
from beholder.model.port import ModelSpec

__all__ = ["OpenVinoClassifier"]

_INFERENCE_PRECISION = {"fp32": "f32", "bf16": "bf16"}
# How many prepared layers OpenVINO keeps for earlier sizes. With its default, 5000, a ResNet-18 grows by
# 0.7 MB with every new image size (600 MB after 400 sizes); with 16 it stays at 330 MB, at the same speed.
_PREPARED_LAYERS_MAX = 16


class OpenVinoClassifier:
    """A model folder, ready to run on the CPU."""

    def __init__(
        self, spec: ModelSpec, *, precision: str | None = None, threads: int = 1, batch_max: int = 8
    ) -> None:
        """Keep what to run and how; `warm_up` loads it.

        Args:
            spec: The model.
            precision: 'fp32' or 'bf16'; None takes bf16 if the CPU computes in it, else fp32.
            threads: How many threads compute a run.
            batch_max: The most images in a run; larger batches become several runs.
        """
        self.spec = spec
        self._precision = precision
        self._threads = threads
        self._batch_max = batch_max
        self._requests: dict[int, Any] = {}
        # The graph of a model that takes any size, to check an image's size; None for a fixed size.
        self._sizes: Graph | None = None

    @property
    def precision(self) -> str:
        """The precision it computes in: 'fp32' or 'bf16'.

        Raises:
            ConfigError: The precision is unknown, or this CPU does not compute in it.
        """
        if self._precision is None:
            self._precision = _choose_precision(None)
        return self._precision

    def warm_up(self) -> None:
        """Compile every batch size and run each once, so that the first image does not wait for it.

        Raises:
            ModelInvalid: The graph cannot be read or compiled, or does not fit `model.toml` and the labels.
            ConfigError: The precision is unknown, or this CPU does not compute in it.
        """
        self._precision = _choose_precision(self._precision)
        graph = Graph(read_graph(self.spec), str(self.spec.onnx_path), embedding=self.spec.embedding)
        check_graph(graph, self.spec)
        side = self.spec.preprocessing.size
        is_single = side is None or not graph.takes_batches(side)
        sizes = (1,) if is_single else batch_sizes(self._precision, self._batch_max)
        self._sizes = graph if side is None else None
        self._requests = {size: self._compile(graph, size) for size in sizes}
        for size in sizes:
            try:
                self._infer(np.stack([warm_up_image(side or graph.reference)] * size))
            except JobError as error:
                self._requests = {}
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
        if not self._requests:
            self.warm_up()
        probabilities, embeddings = self._rows(len(images))
        for run in plan_runs([image.shape for image in images], tuple(self._requests)):
            batch = images[run[0]][np.newaxis] if len(run) == 1 else np.stack([images[i] for i in run])
            probabilities[run], embeddings[run] = self._infer(np.ascontiguousarray(batch))
        return probabilities, embeddings

    def _rows(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return new arrays for the probabilities and the embeddings of so many images."""
        sizes = (len(self.spec.labels), self.spec.embedding_size)
        probabilities, embeddings = (np.full((count, size), np.nan, np.float32) for size in sizes)
        return probabilities, embeddings

    def _infer(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width = batch.shape[1:3]
        self._check_size(height, width)
        # Each run writes into a new array, so that no value of an earlier run remains; what it does not write
        # stays NaN, which `check_answers` refuses.
        found, embeddings = self._rows(len(batch))
        request = self._requests[len(batch)]
        try:
            ov = import_openvino()
            request.set_output_tensor(0, ov.Tensor(found, shared_memory=True))
            if self.spec.embedding:
                request.set_output_tensor(1, ov.Tensor(embeddings, shared_memory=True))
            request.infer(batch, share_inputs=True, share_outputs=True)
            check_answers(found, self.spec)
        except RuntimeError as error:
            self._forget_runs()
            raise InferenceFailed(
                f"the model failed on an image of {width} x {height} pixels: {first_line(error)}"
            ) from error
        except InferenceFailed:
            self._forget_runs()
            raise
        return tempered(found, self.spec), embeddings

    def _forget_runs(self) -> None:
        """Compile anew, because the next image would read what a failed run left between the layers.

        Layers of a fixed size write all of their results in every run, so only graphs of any size need it.
        The graph comes from memory, because the model's folder may be gone.
        """
        if self._sizes is not None:
            self._requests = {1: self._compile(self._sizes, 1)}

    def _check_size(self, height: int, width: int) -> None:
        side = self.spec.preprocessing.size
        if self._sizes is not None:
            self._sizes.check_size(height, width)
        elif (height, width) != (side, side):
            raise ImageSizeUnsupported(
                f"the model cannot run an image of {width} x {height} pixels: it takes {side} x {side} only"
            )

    def _compile(self, graph: Graph, batch_size: int) -> Any:
        try:
            model = graph.with_ends(
                self.spec.preprocessing,
                batch_size=batch_size,
                end=end_of(self.spec),
            )
            compiled = compile_model(model, self._settings())
        except RuntimeError as error:
            raise ModelInvalid(
                f"{self.spec.onnx_path}: OpenVINO cannot use this graph: {first_line(error)}"
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
            # Graphs of a fixed size prepare nothing at run time and do not use it.
            "CPU_RUNTIME_CACHE_CAPACITY": _PREPARED_LAYERS_MAX,
        }


def _choose_precision(wanted: str | None) -> str:
    if wanted not in (None, *_INFERENCE_PRECISION):
        raise ConfigError(f"precision '{wanted}' is not known; write 'fp32', 'bf16', or nothing")
    if wanted == "fp32":
        return wanted
    has_bf16 = "BF16" in cpu_capabilities()
    if wanted == "bf16" and not has_bf16:
        raise ConfigError("this CPU does not compute in bf16; write precision 'fp32', or leave it out")
    return "bf16" if has_bf16 else "fp32"
