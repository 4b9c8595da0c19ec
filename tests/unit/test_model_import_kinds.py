"""What an import finds in a graph, and what it refuses or asks for, on both runtimes."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from beholder.errors import ConfigError, ModelInvalid
from beholder.model import external_data
from beholder.model.external_data import has_external_data, map_onnx, whole_graph
from beholder.model.folder import read_model
from beholder.model.importing import import_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.preprocessing_table import AS_IS, TORCHVISION
from beholder.model.sources.source import Description
from helpers.importing import import_onnx
from tiny_models import (
    BIAS,
    LABELS,
    WEIGHTS,
    expected_probabilities,
    graph_file,
    smallest_graphs,
    tiny_graph,
    write_folder,
)

pytestmark = pytest.mark.pure

Runtime = Callable[[ModelSpec], Classifier]

BOTH = pytest.mark.parametrize(
    "runtime", [OpenVinoClassifier, pytest.param(OnnxRuntimeClassifier, marks=pytest.mark.slow)]
)
DIVIDED = Preprocessing()
# What bf16 rounds, on a CPU that computes in it.
TOLERANCE = 0.02


def tail(value: str, *after: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the tiny graph's nodes behind `value`, and more behind its logits."""
    return [
        helper.make_node("GlobalAveragePool", [value], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
        *after,
    ]


def graph(
    *before: onnx.NodeProto,
    after: tuple[onnx.NodeProto, ...] = (),
    value: str = "image",
    shape: tuple[int | str, ...] = ("n", 3, 24, 24),
    out: str = "logits",
    out_shape: tuple[int | str, ...] = ("n", 4),
    weights: dict[str, Any] | None = None,
    **types: int,
) -> bytes:
    return graph_file(
        [*before, *tail(value, *after)],
        inputs={"image": list(shape)},
        outputs={out: list(out_shape)},
        weights={"weights": WEIGHTS, "bias": BIAS, **(weights or {})},
        **types,
    )


def node(operator: str, *inputs: str, out: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [out], **attributes)


TO_NCHW = node("Transpose", "image", out="x", perm=[0, 3, 1, 2])
SHAPE = {"shape": np.array([-1, 4, 1, 1]), "middle": np.array([-1, 1, 4])}


def imported(
    folder: Path,
    content: bytes,
    runtime: Runtime = OpenVinoClassifier,
    *,
    labels: tuple[str, ...] = LABELS,
    **described: Any,
) -> ModelSpec:
    described = {"preprocessing": DIVIDED, **described}
    folder.mkdir(exist_ok=True)
    file, names = folder / "mushrooms.onnx", folder / "mushrooms.txt"
    file.write_bytes(content)
    names.write_text("\n".join(labels), encoding="utf-8")
    description = Description("mine", "1", "CC0-1.0", "a test", **described)
    return import_onnx(file, names, folder / "models" / "mine", description, load=runtime)


def refusal(folder: Path, content: bytes, runtime: Runtime = OpenVinoClassifier, **options: Any) -> str:
    with pytest.raises(ModelInvalid) as caught:
        imported(folder, content, runtime, **options)
    # It speaks of the user's file, and leaves nothing.
    assert str(folder / "mushrooms.onnx") in caught.value.message
    assert ".import-" not in caught.value.message
    assert not list((folder / "models").glob("*") if (folder / "models").exists() else [])
    return caught.value.message


# The layers behind it compute in float32.
HALF = (node("Cast", "image", out="image_", to=TensorProto.FLOAT),)

FOUND = {
    "static": (graph(), {}, 24),
    "299": (tiny_graph(side=299), {}, 299),
    "one image": (graph(shape=(1, 3, 24, 24), out_shape=(1, 4)), {}, 24),
    "colours last": (graph(TO_NCHW, value="x", shape=("n", 24, 24, 3)), {}, 24),
    "colours last, any size": (graph(TO_NCHW, value="x", shape=("n", "h", "w", 3)), {"size": 224}, 224),
    "all axes free": (graph(shape=("n", "c", "h", "w")), {"size": 224}, 224),
    "all axes free, colours last": (
        graph(TO_NCHW, value="x", shape=("n", "h", "w", "c")),
        {"size": 224},
        224,
    ),
    "float16": (graph(*HALF, value="image_", takes=TensorProto.FLOAT16), {}, 24),
    "float64": (graph(*HALF, value="image_", takes=TensorProto.DOUBLE), {}, 24),
    "(n, 4, 1, 1)": (
        graph(
            after=(node("Reshape", "logits", "shape", out="out"),),
            out="out",
            out_shape=("n", 4, 1, 1),
            weights=SHAPE,
        ),
        {},
        24,
    ),
    "(n, 1, 4)": (
        graph(
            after=(node("Reshape", "logits", "middle", out="out"),),
            out="out",
            out_shape=("n", 1, 4),
            weights=SHAPE,
        ),
        {},
        24,
    ),
    "a number of images in a layer": (
        graph(
            after=(node("Reshape", "logits", "single", out="out"),),
            out="out",
            weights={"single": np.array([1, 4])},
        ),
        {},
        24,
    ),
    "log-softmax": (graph(after=(node("LogSoftmax", "logits", out="out", axis=1),), out="out"), {}, 24),
    "softmax": (tiny_graph(side=24, softmax=True), {"outputs_probabilities": True}, 24),
}


@BOTH
@pytest.mark.parametrize(("content", "said", "side"), FOUND.values(), ids=FOUND.keys())
def test_what_a_graph_says_is_found(
    tmp_path: Path, runtime: Runtime, content: bytes, said: dict[str, Any], side: int
) -> None:
    spec = imported(tmp_path, content, runtime, size=said.get("size"))

    images = [np.full((side, side, 3), colour, np.uint8) for colour in ((250, 10, 10), (10, 20, 200))]
    assert spec.preprocessing.size == side
    assert spec.outputs_probabilities == said.get("outputs_probabilities", False)
    np.testing.assert_allclose(runtime(spec).classify(images), expected_probabilities(images), atol=TOLERANCE)


@BOTH
@pytest.mark.parametrize("nhwc", [False, True])
def test_a_graph_of_uint8_gets_the_pixels_as_they_are(tmp_path: Path, runtime: Runtime, nhwc: bool) -> None:  # noqa: FBT001
    # given a graph that normalises by itself
    to_float = node("Cast", "image", out="float", to=TensorProto.FLOAT)
    divided = node("Div", "float", "top", out="x" if not nhwc else "last")
    turned = (node("Transpose", "last", out="x", perm=[0, 3, 1, 2]),) if nhwc else ()
    content = graph(
        to_float,
        divided,
        *turned,
        value="x",
        shape=("n", 24, 24, 3) if nhwc else ("n", 3, 24, 24),
        weights={"top": np.array(255, np.float32)},
        takes=TensorProto.UINT8,
    )
    # when
    spec = imported(tmp_path, content, runtime)
    # then
    image = np.full((24, 24, 3), (250, 10, 10), np.uint8)
    assert (spec.preprocessing.mean, spec.preprocessing.scale) == ((0, 0, 0), (1, 1, 1))
    np.testing.assert_allclose(
        runtime(spec).classify([image]), expected_probabilities([image]), atol=TOLERANCE
    )


@BOTH
def test_the_smallest_size_of_an_as_is_model_is_kept(tmp_path: Path, runtime: Runtime) -> None:
    content, (height, width) = smallest_graphs()["cropping pad"]

    spec = imported(tmp_path, content, runtime, preprocessing=AS_IS)

    assert (spec.preprocessing.height_min, spec.preprocessing.width_min) == (height, width)
    assert f"height_min = {height}" in (tmp_path / "models" / "mine" / "model.toml").read_text("utf-8")


def test_a_size_where_values_are_no_numbers_is_below_the_smallest(tmp_path: Path) -> None:
    # given a graph that divides by how many pixels it has above 9 rows of 5
    rows = node("Slice", "image", "starts", "ends", "axes", out="x")
    deviation = node("ReduceLogSum", "x", out="log", axes=[1, 2, 3], keepdims=1)
    scaled = node("Div", "image", "log", out="y")
    corner = {"starts": np.array([9, 5]), "ends": np.array([999, 999]), "axes": np.array([2, 3])}
    content = graph(rows, deviation, scaled, value="y", shape=("n", 3, "h", "w"), weights=corner)

    spec = imported(tmp_path, content, preprocessing=AS_IS)

    assert (spec.preprocessing.height_min, spec.preprocessing.width_min) == (10, 6)


ONE_VALUE = {"weights": WEIGHTS[:1], "bias": BIAS[:1]}
PERCENT = (node("Softmax", "logits", out="p", axis=1), node("Mul", "p", "hundred", out="out"))

REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "no square": (graph(shape=("n", 3, 24, 32)), {}, "32 x 24 pixels; only squares are served"),
    "another size": (graph(), {"size": 224}, "takes images of 24 x 24 pixels, not 224 x 224"),
    "as is": (graph(), {"preprocessing": AS_IS}, "takes images of 24 x 24 pixels, and an as-is model"),
    "too small": (
        smallest_graphs()["convolution"][0],
        {"size": 16},
        "the smallest size it takes is 32",
    ),
    "grey": (graph(shape=("n", 1, 24, 24), weights={"weights": WEIGHTS[:, :1]}), {}, "(n, 3, height, width)"),
    "int32": (
        graph(*HALF, value="image_", takes=TensorProto.INT32),
        {},
        "type i32; export the graph with float32, or with uint8",
    ),
    "class number": (
        graph(
            after=(node("ArgMax", "logits", out="out", axis=1, keepdims=1),),
            out="out",
            out_shape=("n", 1),
            gives=TensorProto.INT64,
        ),
        {},
        "the output is of type i64",
    ),
    "one value": (
        graph(out_shape=("n", 1), weights=ONE_VALUE),
        {"labels": ("yes",)},
        "one value for an image",
    ),
    "sigmoid": (graph(after=(node("Sigmoid", "logits", out="out"),), out="out"), {}, "ends in a sigmoid"),
    "sigmoid, declared": (
        graph(after=(node("Sigmoid", "logits", out="out"),), out="out"),
        {"outputs_probabilities": True},
        "are no probabilities; leave out --probabilities",
    ),
    "percent": (
        graph(after=PERCENT, out="out", weights={"hundred": np.array(100, np.float32)}),
        {},
        "percentages",
    ),
    "no number": (
        graph(after=(node("Sub", "logits", "huge", out="low"), node("Log", "low", out="out")), out="out",
              weights={"huge": np.array(1e6, np.float32)}),
        {},
        "NaN or infinite",
    ),
    "infinite": (
        graph(after=(node("Div", "logits", "zero", out="out"),), out="out",
              weights={"zero": np.array(0, np.float32)}),
        {},
        "NaN or infinite",
    ),
    "constant": (
        graph(after=(node("Mul", "logits", "zero", out="out"),), out="out",
              weights={"zero": np.array(0, np.float32)}),
        {},
        "the same answer to five different images",
    ),
    "softmax over the batch": (
        graph(after=(node("Softmax", "logits", out="out", axis=0),), out="out"),
        {},
        "the same answer to five different images",
    ),
    "mixed in the batch": (
        graph(after=(node("ReduceMean", "logits", out="all", axes=[0], keepdims=1),
                     node("Add", "all", "logits", out="out")), out="out"),
        {"runtime": OnnxRuntimeClassifier},
        "changes with the images beside it",
    ),
    "logits as probabilities": (graph(), {"outputs_probabilities": True}, "leave out --probabilities"),
    "probabilities as logits": (
        tiny_graph(side=24, softmax=True),
        {"outputs_probabilities": False},
        "leave out --logits",
    ),
    "a background class": (graph(), {"labels": LABELS[:3]}, "give --background if the graph counts"),
    "a title in the labels": (graph(), {"labels": ("name", *LABELS)}, "if its first line is a title"),
    "a name missing": (graph(), {"labels": ("red", "", "blue", "dark")}, "has no name on line 2"),
    "uint8 that shall be normalised": (
        graph(*HALF, value="image_", takes=TensorProto.UINT8),
        {"preprocessing": TORCHVISION},
        "takes uint8 and normalises by itself",
    ),
    "a map": (
        graph_file([node("Relu", "image", out="map")], inputs={"image": ["n", 3, 24, 24]},
                   outputs={"map": ["n", 3, 24, 24]}),
        {},
        "export the graph with (n, classes)",
    ),
    "two outputs": (
        graph_file(tail("image", node("Relu", "logits", out="more")), inputs={"image": ["n", 3, 24, 24]},
                   outputs={"logits": ["n", 4], "more": ["n", 4]},
                   weights={"weights": WEIGHTS, "bias": BIAS}),
        {},
        "several outputs (logits, more); name the one with a value for each class by --output",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "options", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_graph_that_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, content: bytes, options: dict[str, Any], words: str
) -> None:
    if words == "has no name on line 2":
        with pytest.raises(ModelInvalid, match=rf"mushrooms.txt {words}"):
            imported(tmp_path, content, **options)
        assert not list((tmp_path / "models").iterdir())
    else:
        assert words in refusal(tmp_path, content, **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('["red",\n"green",\n"blue",\n"dark"]', "is JSON; write one class name per line"),
        ('{"id2label": {"0": "red",\n"1": "green",\n"2": "blue",\n"3": "dark"}}', "is JSON"),
        ("\n\n", "is empty"),
        ("", "is empty"),
        ("red\n\nblue\ndark\n", "has no name on line 2"),
    ],
)
def test_label_files_of_another_form_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ModelInvalid, match=words) as caught:
        import_labels(tmp_path, text.encode())
    assert caught.value.message.startswith(str(tmp_path / "names.txt"))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfred\r\ngreen\r\nblue\r\ndark\r\n",
        b"red\ngreen\nblue\ndark\n\n \n",
        b"red\rgreen\rblue\rdark",
    ],
)
def test_label_files_of_other_editors_are_taken(tmp_path: Path, content: bytes) -> None:
    assert import_labels(tmp_path, content).labels == LABELS


def test_names_that_look_like_json_are_names(tmp_path: Path) -> None:
    assert import_labels(tmp_path, b"[red]\ngreen\nblue\n{dark}\n").labels[0] == "[red]"


def import_labels(folder: Path, content: bytes) -> ModelSpec:
    (folder / "it.onnx").write_bytes(graph())
    (folder / "names.txt").write_bytes(content)
    description = Description("mine", "1", "CC0-1.0", "a test", preprocessing=DIVIDED)
    return import_onnx(
        folder / "it.onnx", folder / "names.txt", folder / "mine", description, load=OpenVinoClassifier
    )


def test_a_graph_of_two_images_at_once_runs_one(tmp_path: Path) -> None:
    spec = imported(tmp_path, graph(shape=(2, 3, 24, 24), out_shape=(2, 4)), preprocessing=DIVIDED)

    images = [np.full((24, 24, 3), colour, np.uint8) for colour in ((250, 10, 10), (10, 20, 200), (0, 0, 0))]
    found = OpenVinoClassifier(spec).classify(images)

    np.testing.assert_allclose(found, expected_probabilities(images), atol=TOLERANCE)


def test_a_graph_whose_layers_hold_the_number_of_images_is_refused(tmp_path: Path) -> None:
    content = graph(
        after=(node("Reshape", "logits", "pair", out="out"),),
        shape=(2, 3, 24, 24),
        out="out",
        out_shape=(2, 4),
        weights={"pair": np.array([2, 4])},
    )

    assert "cannot run one image" in refusal(tmp_path, content)


SEVERAL = graph_file(
    tail("image", node("Relu", "logits", out="more")),
    inputs={"image": ["n", 3, 24, 24]},
    outputs={"more": ["n", 4], "logits": ["n", 4]},
    weights={"weights": WEIGHTS, "bias": BIAS},
)


@BOTH
def test_one_of_several_outputs_is_named_by_an_option(tmp_path: Path, runtime: Runtime) -> None:
    spec = imported(tmp_path, SEVERAL, runtime, output="logits")

    image = np.full((24, 24, 3), (250, 10, 10), np.uint8)
    np.testing.assert_allclose(
        runtime(spec).classify([image]), expected_probabilities([image]), atol=TOLERANCE
    )
    with pytest.raises(ConfigError, match="has no output 'log'; its outputs are more, logits"):
        imported(tmp_path / "again", SEVERAL, runtime, output="log")


def test_a_background_that_the_labels_leave_out_is_named_by_an_option(tmp_path: Path) -> None:
    spec = imported(tmp_path, graph(), labels=LABELS[1:], has_background=True)

    assert spec.labels == ("background", *LABELS[1:])


def test_what_a_graph_does_not_say_is_asked_for(tmp_path: Path) -> None:
    free = graph(shape=("n", 3, "h", "w"))

    assert "give --preprocessing torchvision" in refusal(tmp_path, graph(), preprocessing=None)
    assert "by --size" in refusal(tmp_path, free)
    assert imported(tmp_path, free, preprocessing=TORCHVISION).preprocessing.size == 224


def test_a_pipeline_of_scikit_learn_is_refused_in_words(tmp_path: Path) -> None:
    classifier = helper.make_node(
        "LinearClassifier", ["image"], ["label", "scores"], domain="ai.onnx.ml", coefficients=[1.0, 2.0],
        intercepts=[0.0, 0.0], classlabels_ints=[0, 1],
    )  # fmt: skip
    ends = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("image", TensorProto.FLOAT, ["n", 1]),
            ("label", TensorProto.INT64, ["n"]),
            ("scores", TensorProto.FLOAT, ["n", 2]),
        )
    ]
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([classifier], "it", ends[:1], ends[1:]), opset_imports=sets)

    assert "is a pipeline of scikit-learn" in refusal(tmp_path, model.SerializeToString())


def test_what_was_understood_is_told_before_anything_is_written(tmp_path: Path) -> None:
    # given
    file, names = tmp_path / "it.onnx", tmp_path / "names.txt"
    file.write_bytes(graph(TO_NCHW, value="x", shape=(1, 24, 24, 3), out_shape=(1, 4)))
    names.write_text("\n".join(LABELS), encoding="utf-8")
    told: list[str] = []

    def tell(line: str) -> None:
        assert (tmp_path / "models" / "it").exists() == (len(told) >= 5)
        told.append(line)

    # when
    description = Description("it", labels=names, preprocessing=DIVIDED)
    spec = import_model(file, tmp_path / "models" / "it", description, load=OpenVinoClassifier, tell=tell)
    # then
    assert [line.partition(" ")[0] for line in told[5:]] == ["measured", "agreement"]
    assert told[:5] == [
        "source         ONNX, opset 17",
        "input          image: float32, NHWC, 24 x 24 pixels, 1 at once",
        "output         logits: 4 classes, logits",
        f"labels         red ... dark, from {names}",
        (
            "preprocessing  centre-crop to 24 x 24, 0.875 of the sides, mean [0, 0, 0], "
            "scale [255, 255, 255]; from the options"
        ),
    ]
    assert (spec.licence, spec.source) == ("unknown", "it.onnx")


# --- weights in other files ---------------------------------------------------------------------------------


def external(folder: Path, locations: dict[str, str], content: bytes | None = None) -> Path:
    """Write a graph whose weights lie in the files named, by the weights' names."""
    model = onnx.load_from_string(content or tiny_graph())
    for tensor in model.graph.initializer:
        if tensor.name in locations:
            path = folder / locations[tensor.name]
            path.parent.mkdir(parents=True, exist_ok=True)
            offset = path.stat().st_size if path.exists() else 0
            raw = numpy_helper.to_array(tensor).tobytes()
            with path.open("ab") as file:
                file.write(raw)
            onnx.external_data_helper.set_external_data(
                tensor, locations[tensor.name], offset=offset, length=len(raw)
            )
            tensor.ClearField("raw_data")
    (folder / "mushrooms.onnx").write_bytes(model.SerializeToString())
    return folder / "mushrooms.onnx"


@BOTH
@pytest.mark.parametrize(
    "locations",
    [
        {"weights": "mushrooms.onnx.data", "bias": "mushrooms.onnx.data"},
        {"weights": "a.bin", "bias": "deep/er/b.bin"},
        {"weights": "./weights"},
    ],
)
def test_weights_in_other_files_are_moved_into_the_graph(
    tmp_path: Path, runtime: Runtime, locations: dict[str, str]
) -> None:
    file = external(tmp_path, locations)

    spec = imported(tmp_path, file.read_bytes(), runtime, preprocessing=DIVIDED)

    for path in [*tmp_path.glob("*.data"), *tmp_path.glob("*.bin"), *tmp_path.glob("weights")]:
        path.unlink()
    images = [np.full((8, 8, 3), colour, np.uint8) for colour in ((250, 10, 10), (10, 20, 200))]
    assert not has_external_data(map_onnx(spec.onnx_path))
    np.testing.assert_allclose(runtime(spec).classify(images), expected_probabilities(images), atol=TOLERANCE)


def read_whole_graph(path: Path) -> bytes:
    return b"".join(whole_graph(path, map_onnx(path)))


def test_weights_in_attributes_and_inner_graphs_are_moved_too(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.arange(6, dtype=np.float32), "inner")
    (tmp_path / "inner.bin").write_bytes(values.raw_data)
    onnx.external_data_helper.set_external_data(values, "inner.bin")
    values.ClearField("raw_data")
    constant = helper.make_node("Constant", [], ["c"], value=values)
    inner = helper.make_graph([constant], "inner", [], [])
    branch = helper.make_node("If", ["yes"], ["out"], then_branch=inner, else_branch=inner)
    model = helper.make_model(helper.make_graph([branch, constant], "outer", [], []))
    (tmp_path / "it.onnx").write_bytes(model.SerializeToString())

    whole = onnx.load_from_string(read_whole_graph(tmp_path / "it.onnx"))

    tensors = [whole.graph.node[1].attribute[0].t]
    tensors += [one.g.node[0].attribute[0].t for one in whole.graph.node[0].attribute]
    assert len(tensors) == 3
    for tensor in tensors:
        assert numpy_helper.to_array(tensor).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_file_without_other_files_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "it.onnx").write_bytes(tiny_graph())

    assert read_whole_graph(tmp_path / "it.onnx") == tiny_graph()


def test_tensors_that_name_the_same_bytes_do_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(external_data, "_BYTES_MAX", 10_000)
    monkeypatch.setattr(external_data, "_part", lambda *_: taken.append(4_000) or memoryview(bytes(4_000)))
    (tmp_path / "weights").write_bytes(bytes(4_000))
    model = onnx.load_from_string(tiny_graph())
    model.graph.initializer.extend([model.graph.initializer[0]] * 20)
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "weights")
    (tmp_path / "mushrooms.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(ModelInvalid, match="more than 2 GB with its weights"):
        read_whole_graph(tmp_path / "mushrooms.onnx")
    assert len(taken) == 3


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "a/../../secret", "..\\secret", "", "link"]
)
def test_no_other_file_is_taken_from_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 100)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    model = onnx.load_from_string(tiny_graph())
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
    (folder / "mushrooms.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(ModelInvalid, match=r"outside its folder|leads out of its folder"):
        read_whole_graph(folder / "mushrooms.onnx")


def test_other_files_that_are_missing_or_cut_short_are_named(tmp_path: Path) -> None:
    file = external(tmp_path, {"weights": "mushrooms.onnx.data"})
    data = tmp_path / "mushrooms.onnx.data"

    os.truncate(data, 20)
    assert "has 20 bytes" in refusal(tmp_path, file.read_bytes())
    data.unlink()
    assert f"put {data} there" in refusal(tmp_path, file.read_bytes())


def test_a_model_folder_with_weights_in_other_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = external(tmp_path, {"weights": "weights.bin"})
    folder = write_folder(tmp_path / "served", graph=file.read_bytes())
    # A runtime that reads from memory would look in the current folder.
    monkeypatch.chdir(tmp_path)

    for runtime in (OpenVinoClassifier, OnnxRuntimeClassifier):
        with pytest.raises(ModelInvalid, match="beholder models import"):
            runtime(read_model(folder)).warm_up()  # type: ignore[operator]


@settings(max_examples=200)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 600),
)
def test_damaged_files_are_refused_or_taken(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(tiny_graph())
    for at, value in flips:
        content[at % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / "it.onnx"
    path.write_bytes(content[: cut or None])

    # Nothing but a refusal comes of it.
    with contextlib.suppress(ModelInvalid):
        assert read_whole_graph(path) == bytes(content[: cut or None])
