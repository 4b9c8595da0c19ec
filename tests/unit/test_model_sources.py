"""What an import reads in the files beside a graph, and what it refuses in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.importing import import_model
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import ModelSpec, Preprocessing, PreprocessingKind
from beholder.model.sources.preprocessor_config import preprocessing_of
from beholder.model.sources.source import Description
from helpers.importing import import_onnx
from helpers.sources import (
    IMAGENET,
    VIT,
    colour_images,
    hub_folder,
    nhwc_graph,
    timm_config,
    vit_config,
    yolo_file,
)
from tiny_models import LABELS, expected_probabilities, tiny_graph

pytestmark = pytest.mark.pure

TOLERANCE = 0.02


def imported(source: Path, **described: Any) -> ModelSpec:
    description = Description("mine", **described)
    return import_onnx(
        source, description.labels, source.parent / "models" / "mine", description, load=OpenVinoClassifier
    )


def names_file(folder: Path) -> Path:
    path = folder / "names.txt"
    path.write_text("\n".join(LABELS), encoding="utf-8")
    return path


def assert_answers(spec: ModelSpec, *, mean: Any, scale: Any) -> None:
    images = colour_images()
    expected = expected_probabilities(images, mean=np.array(mean), scale=np.array(scale))
    np.testing.assert_allclose(OpenVinoClassifier(spec).classify(images), expected, atol=TOLERANCE)


# --- one import for each form -------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["model.onnx", "onnx/model.onnx"])
def test_a_folder_of_hugging_face_needs_no_option(tmp_path: Path, graph: str) -> None:
    spec = imported(hub_folder(tmp_path / "vit", config=vit_config(), graph=graph))

    assert (spec.labels, spec.preprocessing.kind) == (LABELS, PreprocessingKind.STRETCH)
    assert (spec.preprocessing.size, spec.preprocessing.crop_fraction) == (224, 1.0)
    assert_answers(spec, mean=127.5, scale=127.5)


def test_a_folder_of_timm_needs_no_option(tmp_path: Path) -> None:
    spec = imported(hub_folder(tmp_path / "timm", config=timm_config(), preprocessor=None))

    assert (spec.labels, spec.licence) == (LABELS, "apache-2.0")
    assert (spec.preprocessing.kind, spec.preprocessing.crop_fraction) == ("centre-crop", 0.95)
    assert_answers(spec, mean=np.array(IMAGENET["mean"]) * 255, scale=np.array(IMAGENET["std"]) * 255)


def test_names_of_timm_are_described_where_they_are_numbers_of_wordnet(tmp_path: Path) -> None:
    config = timm_config(names=["n1", "n2", "n3", "n4"], crop_mode="squash")
    config["label_descriptions"] = {f"n{number}": name for number, name in enumerate(LABELS, start=1)}

    spec = imported(hub_folder(tmp_path / "timm", config=config, preprocessor=None))

    assert (spec.labels, spec.preprocessing.kind) == (LABELS, "stretch")


def test_a_classifier_of_ultralytics_needs_no_option(tmp_path: Path) -> None:
    spec = imported(yolo_file(tmp_path / "yolo11n-cls.onnx"))

    assert (spec.labels, spec.outputs_probabilities) == (LABELS, True)
    assert spec.preprocessing == Preprocessing(size=224, crop_fraction=1.0)
    assert_answers(spec, mean=0, scale=255)


def test_what_is_told_of_a_model_cannot_command_the_terminal(tmp_path: Path) -> None:
    names = {0: "\x1b[2Jagaric", 1: "b", 2: "c", 3: "truffle"}
    source, told = yolo_file(tmp_path / "yolo.onnx", names=repr(names)), list[str]()

    import_model(
        source, tmp_path / "models" / "it", Description("it"), load=OpenVinoClassifier, tell=told.append
    )

    assert any("?[2Jagaric ... truffle" in line for line in told)
    assert all(line.isprintable() for line in told)


def test_a_keras_export_needs_its_labels_and_preprocessing(tmp_path: Path) -> None:
    file = tmp_path / "keras.onnx"
    file.write_bytes(nhwc_graph())
    taken = Preprocessing(kind=PreprocessingKind.STRETCH, mean=(127.5,) * 3, scale=(127.5,) * 3)

    with pytest.raises(ModelInvalid, match="give --preprocessing torchvision"):
        imported(file, labels=names_file(tmp_path))
    spec = imported(file, labels=names_file(tmp_path), preprocessing=taken)

    assert spec.outputs_probabilities
    assert_answers(spec, mean=127.5, scale=127.5)


def test_an_option_counts_before_what_the_files_say(tmp_path: Path) -> None:
    names = tmp_path / "other.txt"
    names.write_text("a\nb\nc\nd", encoding="utf-8")
    unusual = {**VIT, "do_flip_channel_order": True}
    folder = hub_folder(tmp_path / "vit", config=vit_config(), preprocessor=unusual)

    spec = imported(folder, labels=names, preprocessing=Preprocessing(), size=32, licence="MIT")

    assert (spec.labels, spec.licence) == (("a", "b", "c", "d"), "MIT")
    assert spec.preprocessing == Preprocessing(size=32)


# --- preprocessor_config.json -------------------------------------------------------------------------------

CONVNEXT = {**VIT, "image_processor_type": "ConvNextImageProcessor"}
CLIP = {**VIT, "image_processor_type": "CLIPImageProcessor", "do_center_crop": True}
DEIT = {**VIT, "image_processor_type": "DeiTImageProcessor", "do_center_crop": True}
SQUARE_224 = {"height": 224, "width": 224}

GEOMETRIES: dict[str, tuple[Mapping[str, Any], tuple[str, int, float]]] = {
    "both sides": (VIT, ("stretch", 224, 1.0)),
    "one number, ViT": (
        {**VIT, "size": 224, "image_processor_type": None, "feature_extractor_type": "ViTFeatureExtractor"},
        ("stretch", 224, 1.0),
    ),
    "shorter side, then a crop": (
        {**CLIP, "size": {"shortest_edge": 256}, "crop_size": SQUARE_224},
        ("centre-crop", 224, 0.875),
    ),
    "one number, CLIP": ({**CLIP, "size": 224, "crop_size": 224}, ("centre-crop", 224, 1.0)),
    "both sides, then a crop": (
        {**DEIT, "size": {"height": 256, "width": 256}, "crop_size": SQUARE_224},
        ("stretch", 224, 0.875),
    ),
    "a part, ConvNeXt": (
        {**CONVNEXT, "size": {"shortest_edge": 224}, "crop_pct": 0.875},
        ("centre-crop", 224, 0.875),
    ),
    "one number and a part": ({**CONVNEXT, "size": 224, "crop_pct": 0.95}, ("centre-crop", 224, 0.95)),
    "larger than it says, LeViT": (
        {
            **CLIP,
            "image_processor_type": "LevitImageProcessor",
            "size": {"shortest_edge": 224},
            "crop_size": SQUARE_224,
        },
        ("centre-crop", 224, 0.875),
    ),
    "large, ConvNeXt": ({**CONVNEXT, "size": {"shortest_edge": 384}, "crop_pct": 1.0}, ("stretch", 384, 1.0)),
}


@pytest.mark.parametrize(("table", "expected"), GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_each_form_of_size_and_crop_is_read(
    table: Mapping[str, Any], expected: tuple[str, int, float]
) -> None:
    found = preprocessing_of(table, "it")

    assert (found.kind, found.size, found.crop_fraction) == expected


@pytest.mark.parametrize(
    ("changed", "mean", "scale"),
    [
        ({}, 127.5, 127.5),
        ({"do_normalize": False}, 0, 255),
        ({"do_rescale": False}, 0.5, 0.5),
        ({"do_rescale": False, "do_normalize": False}, 0, 1),
        ({"rescale_factor": 1 / 127.5}, 63.75, 63.75),
        ({"do_rescale": None, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, 0, 1),
    ],
)
def test_the_flags_decide_what_is_done_to_a_pixel(changed: dict[str, Any], mean: float, scale: float) -> None:
    found = preprocessing_of({**VIT, **changed}, "it")

    assert (found.mean, found.scale) == (pytest.approx((mean,) * 3), pytest.approx((scale,) * 3))


def test_a_model_that_is_not_scaled_runs_images_as_they_are() -> None:
    found = preprocessing_of({**VIT, "do_resize": False}, "it")

    assert (found.kind, found.size) == ("as-is", None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"do_flip_channel_order": True}, "has do_flip_channel_order"),
        ({"rescale_offset": True}, "has rescale_offset"),
        ({"image_processor_type": "MobileViTImageProcessor"}, "has do_flip_channel_order"),
        ({"image_processor_type": "EfficientNetImageProcessor"}, "has include_top"),
        ({"image_processor_type": "PerceiverImageProcessor"}, "crops before it scales"),
        (
            {"size": {"shortest_edge": 256}, "crop_pct": 0.9, "do_center_crop": True, "crop_size": 224},
            "a crop_size that is not its size",
        ),
        ({"image_processor_type": "PoolFormerImageProcessor", "crop_pct": 0.9}, "a size of both sides"),
        ({"size": 224, "image_processor_type": "NewImageProcessor"}, "of the shorter side or of both"),
        ({"size": {"shortest_edge": 224}}, "crops nothing, so that no square"),
        ({"size": {"longest_edge": 224}}, "which is no square"),
        ({"size": {"height": 224, "width": 192}}, "which is no square"),
        ({"size": None}, "which is no square"),
        ({"size": {"shortest_edge": "224"}}, "no number of pixels"),
        ({"crop_size": 200}, "does not say whether to crop"),
        ({"do_center_crop": True, "crop_size": 256}, "crop_fraction must be above 0 and at most 1"),
        ({"do_center_crop": True, "do_resize": False}, "crops without scaling"),
        ({"image_mean": None}, "has no image_mean"),
        ({"image_std": ["a", "b", "c"]}, "has no image_mean, image_std"),
        ({"image_std": [0.5]}, "scale must be a number, or three"),
        ({"rescale_factor": 0}, "has no image_mean, image_std and rescale_factor"),
        ({"image_mean": [10**400] * 3}, "has no image_mean"),
        ({"image_mean": [123.675, 116.28, 103.53]}, "beyond every pixel"),
        ({"size": 224, "image_processor_type": "ViTHybridImageProcessor"}, "of the shorter side or of both"),
        ({"do_center_crop": True, "crop_size": 10**400}, "no number of pixels"),
    ],
)
def test_what_a_preprocessor_does_not_say_is_asked_for(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelInvalid, match=words) as caught:
        preprocessing_of({**VIT, **changed}, "it")

    assert "give --preprocessing" in caught.value.message


# --- refused in words ---------------------------------------------------------------------------------------

UNNAMED = {str(number): f"LABEL_{number}" for number in range(4)}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (vit_config(id2label=UNNAMED), "by --labels"),
        (vit_config(id2label={"0": "a", "2": "b"}), "does not name the classes by 0, 1, 2"),
        (vit_config(id2label=["a"]), "does not name the classes by 0, 1, 2"),
        (vit_config(id2label={"0": "a", "1": 7}), "names that are no text"),
        (vit_config(id2label={"0": "a", "1": "\ud800"}), "does not name the classes by 0, 1, 2"),
        (vit_config(architectures=5), "architectures is no list"),
        (vit_config(architectures=["BertForMaskedLM"]), "a BertForMaskedLM is no classifier of images"),
        (vit_config(problem_type="regression"), "problem_type regression"),
        (timm_config(names=None), "by --labels"),
        (timm_config(crop_mode="border"), "crop_mode 'border' is not done here"),
        (timm_config(input_size=[3, 224, 192]), "is no square of three colours"),
        (timm_config(input_size=[1, 28, 28]), "is no square of three colours"),
        (timm_config(mean=None), "no mean and std that are numbers"),
        (timm_config(mean=[123.675, 116.28, 103.53]), "beyond every pixel"),
        (timm_config(mean=[10**400] * 3), "no mean and std that are numbers"),
        (timm_config(crop_mode=["center"]), "is not done here"),
        ({**timm_config(names=None), "architecture": ["resnet18"]}, "by --labels"),
        (timm_config(crop_pct=1.5), "crop_fraction must be above 0"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(
    tmp_path: Path, config: Mapping[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        imported(hub_folder(tmp_path / "it", config=config))

    assert str(tmp_path / "it") in caught.value.message


def test_a_folder_without_a_graph_gets_the_command_that_makes_one(tmp_path: Path) -> None:
    vit = hub_folder(tmp_path / "vit", config=vit_config(), graph=None)
    timm = hub_folder(tmp_path / "timm", config=timm_config(), graph=None)

    with pytest.raises(
        ModelInvalid, match=r"optimum-cli export onnx --model .*vit --task image-classification"
    ):
        imported(vit)
    with pytest.raises(ModelInvalid, match=r"timm\.create_model\('convnext_tiny'"):
        imported(timm)


@pytest.mark.parametrize("text", ["no json", "[1]", "[" * 100_000])
def test_files_that_are_no_json_are_named(tmp_path: Path, text: str) -> None:
    folder = hub_folder(tmp_path / "vit", config=vit_config())
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")

    with pytest.raises(ModelInvalid, match=r"preprocessor_config\.json .*copy it again"):
        imported(folder)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match=r"has no config\.json"):
        imported(tmp_path / "empty")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"task": "detect"}, "for the task 'detect'; beholder serves classifiers"),
        ({"names": "__import__('os')"}, "has no names and imgsz"),
        ({"names": "{0: 'a', 2: 'b'}"}, "does not name the classes by 0, 1, 2"),
        ({"imgsz": "[224]"}, "has no names and imgsz"),
        ({"imgsz": "[224, 192]"}, "only squares are served"),
    ],
)
def test_a_file_of_ultralytics_that_cannot_be_used_is_refused(
    tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    with pytest.raises(ModelInvalid, match=words):
        imported(yolo_file(tmp_path / "yolo.onnx", **changed))


@pytest.mark.parametrize(
    "name",
    ["it.onnx", "it.pth", "it.safetensors", "it.mar", "config.json", "names.txt"],
)
def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    # given a file that takes no space, and would fill the memory
    with (tmp_path / name).open("wb") as file:
        file.truncate(5_000_000_000)
    labels = tmp_path / name if name == "names.txt" else names_file(tmp_path)
    source = {"config.json": tmp_path, "names.txt": tmp_path / "small.onnx"}.get(name, tmp_path / name)
    (tmp_path / "small.onnx").write_bytes(tiny_graph())

    with pytest.raises(ModelInvalid, match=rf"{name} has (5,000 MB|more than 2 GB)"):
        imported(source, labels=labels)
