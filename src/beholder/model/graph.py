"""Reads an ONNX graph by OpenVINO, which every installation has: its input, classes and image sizes.

Both runtimes and the import use it. OpenVINO's own check of a size at run time is not enough: compiled for
any size, its CPU plugin (2026.4) skips a layer that has nothing to compute, and the layers behind it read
memory that the previous image left.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from beholder.errors import ImageSizeUnsupported, ModelInvalid
from beholder.model.embedding import unit_length, values_in, with_embedding
from beholder.model.openvino_core import first_line, import_openvino
from beholder.model.port import Preprocessing
from beholder.model.weights_in_place import read_graph_in_place

__all__ = ["CHANNELS", "RAW", "Graph", "smallest_side"]

CHANNELS = 3
# Mean and scale that leave the pixels alone.
RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# Element types of the input by OpenVINO's names, and their usual names.
_ELEMENTS = {"u8": "uint8", "f16": "float16", "f32": "float32", "f64": "float64"}
_RANK_IMAGES = 4
# Tried in this order if the graph does not name its size.
_SIDES_TRIED = (224, 299, 512, 1024)
# Sizes are remembered with their reasons as texts, so a flood of different sizes takes a few hundred kB at
# most.
_SIZES_KEPT_MAX = 4096


class Graph:
    """A classifier's graph: its input, its classes and the sizes it takes."""

    def __init__(self, content: bytes | Path, where: str, *, embedding: str = "") -> None:
        """Read the graph.

        Args:
            content: The ONNX file's bytes, or its path: then its weights stay in it while the graph is in
                use, so it must not be shortened.
            where: Its name in messages.
            embedding: The tensor that is the embedding; empty for none.

        Raises:
            ModelInvalid: OpenVINO cannot read the graph, it is no classifier of images, or lacks the tensor.
        """
        self._ov = import_openvino()
        self.where = where
        self._reasons: dict[tuple[int, int], str] = {}
        try:
            self.model = read_graph_in_place(self._ov.Core(), content)
        except RuntimeError as error:
            raise self._invalid(f"OpenVINO cannot use this graph: {first_line(error)}") from error
        self.embedding = embedding
        if embedding:
            self.model = with_embedding(self.model, embedding, where)
        self._check_ends()
        shape = self.model.inputs[0].partial_shape
        self.input_name, self.output_name = _names(self.model.inputs), _names(self.model.outputs[:1])
        self.element: str = _ELEMENTS[self.model.inputs[0].element_type.to_string()]
        self.is_nhwc = shape[1] != CHANNELS and (shape[3] == CHANNELS or not self._takes_nchw())
        fixed = [axis.get_length() if axis.is_static else None for axis in shape]
        self.batch: int | None = fixed[0]
        self.height, self.width = (fixed[1], fixed[2]) if self.is_nhwc else (fixed[2], fixed[3])
        self._unsettled_anyway: frozenset[str] = frozenset()
        self.reference = self._find_reference()
        self.classes = self._classes_at(self.reference, self.reference)
        self.embedding_size = self._embedding_size()
        if embedding and not self.embedding_size:
            raise self._invalid(
                f"the tensor '{embedding}' has the shape {self.model.outputs[1].partial_shape}; "
                "name one of (1, values) as the embedding, such as what the last layer reads"
            )

    @property
    def side(self) -> int | None:
        """The only side in pixels that the graph takes, or None if it takes several."""
        return self.height or self.width

    @property
    def last_operation(self) -> str:
        """The last operation, such as 'Softmax'; changes of shape or type at the end are skipped."""
        node = self.model.get_results()[0].input_value(0).get_node()
        while node.get_type_name() in ("Convert", "Reshape", "Squeeze", "Identity"):
            node = node.input_value(0).get_node()
        return str(node.get_type_name())

    @property
    def ends_in_sigmoid(self) -> bool:
        """Whether each class has a probability of its own."""
        return self.last_operation in ("Sigmoid", "HardSigmoid")

    def input_shape(self, batch: int, height: int, width: int) -> Any:
        """Return the shape of the input for images of a size; -1 stands for any."""
        colours_last = [batch, height, width, CHANNELS]
        return self._ov.PartialShape(colours_last if self.is_nhwc else [batch, CHANNELS, height, width])

    def with_ends(
        self, preprocessing: Preprocessing, *, batch_size: int, end: Literal["", "softmax", "sigmoid"]
    ) -> Any:
        """Return the graph for OpenVINO from uint8 images (n, height, width, 3) to (n, classes) float32.

        Of a graph with an embedding the second output is that, each of length 1.

        Args:
            preprocessing: Its size, mean and scale.
            batch_size: The images of one run.
            end: What to add at the end; empty for nothing.
        """
        ov = self._ov
        side = -1 if preprocessing.size is None else preprocessing.size
        model = self.model.clone()
        model.reshape(self.input_shape(batch_size, side, side))
        steps = ov.preprocess.PrePostProcessor(model)
        image = steps.input()
        image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        image.model().set_layout(ov.Layout("NHWC" if self.is_nhwc else "NCHW"))
        if self.element != "uint8":
            normalise = image.preprocess().convert_element_type(ov.Type.f32)
            normalise.mean(list(preprocessing.mean)).scale(list(preprocessing.scale))
        for place in range(len(model.outputs)):
            steps.output(place).tensor().set_element_type(ov.Type.f32)
        model = steps.build()
        values = model.get_results()[0].input_value(0)
        values = ov.opset8.reshape(values, [batch_size, self.classes], special_zero=False)
        if end:
            values = ov.opset8.softmax(values, axis=1) if end == "softmax" else ov.opset8.sigmoid(values)
        ends = [values]
        if self.embedding:
            rows = model.get_results()[1].input_value(0)
            rows = ov.opset8.reshape(rows, [batch_size, self.embedding_size], special_zero=False)
            ends.append(unit_length(rows))
        return ov.Model(ends, model.get_parameters(), model.get_friendly_name())

    def takes_batches(self, side: int) -> bool:
        """Say whether it runs several images of a side at once: some exporters fix the batch to 1."""
        if self.batch == 1:
            return False
        try:
            self.model.reshape(self.input_shape(2, side, side))
        except RuntimeError:
            return False
        shapes = [output.partial_shape for output in self.model.outputs]
        return all(shape.is_static and next(iter(shape.to_shape())) == 2 for shape in shapes)  # noqa: PLR2004

    def check_size(self, height: int, width: int) -> None:
        """Refuse an image of a size that some layer of the graph cannot compute.

        Raises:
            ImageSizeUnsupported: The message says why; if the image is too small, with the smallest size.
        """
        if (height, width) not in self._reasons:
            if len(self._reasons) >= _SIZES_KEPT_MAX:
                self._reasons.clear()
            self._reasons[height, width] = self._reason_against(height, width)
        if reason := self._reasons[height, width]:
            least_height, least_width = self.smallest()
            is_small = height < least_height or width < least_width
            hint = f"; the smallest it runs is {least_width} x {least_height}" if is_small else ""
            raise ImageSizeUnsupported(
                f"the model cannot run an image of {width} x {height} pixels{hint or ': ' + reason}"
            )

    @functools.cache  # noqa: B019 -- a process holds as many graphs as models, for as long as it lives
    def smallest(self) -> tuple[int, int]:
        """Return the smallest height and the smallest width that the graph computes, each beside a long side.

        A side that is long enough for every layer stays so when it grows, so bisection finds each.
        """
        side = self.reference
        return (
            smallest_side(side, lambda height: not self._reason_against(height, side)),
            smallest_side(side, lambda width: not self._reason_against(side, width)),
        )

    def check_takes_any_size(self) -> None:
        """Refuse a graph that cannot run images as they are.

        Raises:
            ModelInvalid: It takes one size only, or fails at a second size.
        """
        if self.side is not None:
            raise self._invalid(
                f"the graph takes images of {self.width or 'any'} x {self.height or 'any'} pixels, and an "
                "as-is model meets images of any size; use centre-crop, at the size of the graph"
            )
        # Two sizes without a common factor: a layer that needs a multiple of a number fails at the second.
        for height, width in (
            (self.reference, self.reference),
            (self.reference + 107, self.reference + 33),
        ):
            if reason := self._reason_against(height, width):
                raise self._invalid(
                    f"the graph cannot run an image of {width} x {height} pixels ({reason}), and an as-is "
                    "model meets images of any size; use centre-crop, with a size that it takes"
                )

    def check_side(self, side: int) -> None:
        """Refuse a side of the input that the graph does not take.

        Raises:
            ModelInvalid: The message says which sides the graph takes.
        """
        if self.side not in (None, side):
            raise self._invalid(
                f"the graph takes images of {self.side} x {self.side} pixels, not {side} x {side}; "
                f"give it the size {self.side}"
            )
        if reason := self._reason_against(side, side):
            least = max(self.smallest())
            hint = f"; the smallest size it takes is {least}" if side < least else ""
            raise self._invalid(f"the graph cannot run an image of {side} x {side} pixels: {reason}{hint}")

    def check_labels(self, count: int, labels: str, *, is_multi_label: bool = False) -> None:
        """Refuse a label file that cannot be the graph's, and a graph of one class that has no other.

        Args:
            count: The number of its names.
            labels: The file's name in messages.
            is_multi_label: Whether each class has a probability of its own.

        Raises:
            ModelInvalid: The numbers differ; the message names a possible reason.
        """
        if self.classes == 1 and not is_multi_label:
            raise self._invalid(
                "the graph gives one value for an image, and of one class every image is 100 %; export it "
                "with an output for each class, two for yes and no, or give --threshold if the value is a "
                "sigmoid's"
            )
        if count == self.classes:
            return
        hint = "use the label file that belongs to the graph"
        if count == self.classes - 1:
            hint += ", or give --background if the graph counts a background as its first class"
        elif count == self.classes + 1:
            hint += "; if its first line is a title, or a background that the graph does not count, remove it"
        raise self._invalid(f"the graph has {self.classes} classes, {labels} {count} names; {hint}")

    def _check_ends(self) -> None:
        """Report how input and output differ from a classifier's."""
        inputs, outputs = self.model.inputs, self.model.outputs
        problems = []
        if len(inputs) != 1 or len(outputs) != (2 if self.embedding else 1):
            problems.append(
                f"the graph has {len(inputs)} inputs and {len(outputs)} outputs ({_names(inputs)} and "
                f"{_names(outputs)}); export it with one image input and one output of a value for each class"
            )
        else:
            problems += self._input_problems(inputs[0]) + _output_problems(outputs[0])
        if problems:
            raise ModelInvalid([f"{self.where}: {problem}" for problem in problems])

    def _input_problems(self, image: Any) -> list[str]:
        shape, element = image.partial_shape, image.element_type.to_string()
        problems = []
        is_free = shape.rank == _RANK_IMAGES and (shape[1].is_dynamic or shape[3].is_dynamic)
        if shape.rank != _RANK_IMAGES or not (is_free or CHANNELS in (shape[1], shape[3])):
            problems.append(
                f"the input has shape {shape}; export the graph with (n, 3, height, width) or "
                "(n, height, width, 3), in red, green and blue"
            )
        if element not in _ELEMENTS:
            problems.append(
                f"the input is of type {element}; export the graph with float32, or with uint8 if it "
                "normalises by itself"
            )
        return problems

    def _takes_nchw(self) -> bool:
        """Say whether a graph whose axes are all free takes the colours as its first axis."""
        self.is_nhwc = False
        self._unsettled_anyway = frozenset()
        return any(not self._shape_problem(side, side) for side in _SIDES_TRIED)

    def _find_reference(self) -> int:
        """Return a side that the graph runs, and remember which of its layers are empty at that side."""
        if self.height is not None and self.width is not None and self.height != self.width:
            raise self._invalid(
                f"the graph takes images of {self.width} x {self.height} pixels; only squares are served, "
                "export it with equal sides"
            )
        reasons = []
        for side in (self.side,) if self.side else _SIDES_TRIED:
            reason = self._shape_problem(side, side)
            if not reason:
                self._unsettled_anyway = self._unsettled()
                return side
            reasons.append(reason)
        raise self._invalid(
            f"the graph cannot run one image of {self.side or _SIDES_TRIED[0]} pixels a side: {reasons[0]}; "
            "export it with (n, classes) of a free n"
        )

    def _classes_at(self, height: int, width: int) -> int:
        self.model.reshape(self.input_shape(1, height, width))
        classes: int = math.prod(self.model.outputs[0].shape)
        return classes

    def _embedding_size(self) -> int:
        """Return how many values the embedding has at the size that the graph has now; 0 for none."""
        return values_in(self.model.outputs[1].partial_shape) if self.embedding else 0

    def _reason_against(self, height: int, width: int) -> str:
        """Return why the graph cannot run an image of a size, or an empty text if it can."""
        for actual, fixed in ((height, self.height), (width, self.width)):
            if fixed not in (None, actual):
                return f"it takes {self.width or 'any'} x {self.height or 'any'} only"
        if reason := self._shape_problem(height, width):
            return reason
        # A layer without elements is not computed, and the layers after it read old memory.
        if empty := self._unsettled() - self._unsettled_anyway:
            return f"nothing of the image is left at its layer {min(empty)}"
        if math.prod(self.model.outputs[0].shape) != self.classes:
            return f"it answers with {self.model.outputs[0].shape}"
        if self.embedding and self._embedding_size() != self.embedding_size:
            return f"its embedding has the shape {self.model.outputs[1].partial_shape}"
        return ""

    def _shape_problem(self, height: int, width: int) -> str:
        try:
            self.model.reshape(self.input_shape(1, height, width))
        except RuntimeError as error:
            return first_line(error)
        shape = self.model.outputs[0].partial_shape
        if shape.is_dynamic:
            return f"the shape of its output, {shape}, depends on what the image shows"
        lengths = list(shape.to_shape())
        if not lengths or lengths[0] != 1 or sum(length != 1 for length in lengths) > 1:
            return f"it answers with {lengths} instead of (1, classes)"
        return ""

    def _unsettled(self) -> frozenset[str]:
        """Return the layers whose result has no element, or a shape that the image size does not settle."""
        return frozenset(
            node.get_friendly_name()
            for node in self.model.get_ops()
            if node.get_type_name() != "Constant"
            for output in node.outputs()
            if output.partial_shape.is_dynamic or 0 in list(output.partial_shape.to_shape())
        )

    def _invalid(self, problem: str) -> ModelInvalid:
        return ModelInvalid(f"{self.where}: {problem}")


def _output_problems(values: Any) -> list[str]:
    if not values.element_type.is_real():
        kind = values.element_type.to_string()
        return [f"the output is of type {kind}; export the graph with a float32 for each class"]
    shape = values.partial_shape
    if shape.rank.is_dynamic:
        return []
    # (n, classes, 1, 1) is as good as (n, classes); two axes of several values are a map of the image.
    several = [axis for axis in list(shape)[1:] if axis.is_static and axis.get_length() != 1]
    if len(shape) < 2 or len(several) > 1:  # noqa: PLR2004 -- images and classes
        return [f"the output has shape {shape}; export the graph with (n, classes)"]
    return []


def _names(ends: Any) -> str:
    return ", ".join(end.any_name if end.names else "without a name" for end in ends)


def smallest_side(works: int, is_taken: Callable[[int], bool]) -> int:
    """Return the least number from 1 to `works` that is taken; every larger number is taken, too."""
    fails = 0
    while works - fails > 1:
        middle = (fails + works) // 2
        if is_taken(middle):
            works = middle
        else:
            fails = middle
    return works
