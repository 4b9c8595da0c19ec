"""Models in the forms that people have, small enough to make in a test."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tiny_models import LABELS, tiny_graph

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
VIT = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
ID2LABEL = {str(number): name for number, name in enumerate(LABELS)}


def labelled(content: bytes, *, producer: str = "", metadata: Mapping[str, str] | None = None) -> bytes:
    """Return an ONNX file that says who wrote it, with metadata."""
    model = onnx.load_from_string(content)
    model.producer_name = producer
    helper.set_model_props(model, dict(metadata or {}))
    return model.SerializeToString()


def nhwc_graph(*, side: int = 224) -> bytes:
    """Return the tiny graph with a softmax, as tf2onnx writes Keras models."""
    model = onnx.load_from_string(tiny_graph(side=side, softmax=True))
    turn = helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2])
    model.graph.node[0].input[0] = "turned"
    model.graph.node.insert(0, turn)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    axes[1].dim_value, axes[3].dim_value = side, 3
    return labelled(model.SerializeToString(), producer="tf2onnx")


def yolo_file(path: Path, *, task: str = "classify", **changed: str) -> Path:
    """Write a classifier as ultralytics exports it."""
    metadata = {
        "author": "Ultralytics",
        "task": task,
        "names": repr(dict(enumerate(LABELS))),
        "imgsz": "[224, 224]",
        **changed,
    }
    content = tiny_graph(side=224, batch=1, softmax=True)
    path.write_bytes(labelled(content, producer="pytorch", metadata=metadata))
    return path


def hub_folder(
    folder: Path,
    *,
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any] | None = VIT,
    graph: str | None = "onnx/model.onnx",
) -> Path:
    """Write a folder as Hugging Face's hub has it; the graph takes any size, as optimum exports it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    if graph is not None:
        (folder / graph).parent.mkdir(exist_ok=True)
        (folder / graph).write_bytes(tiny_graph(side="any"))
    return folder


def vit_config(**changed: Any) -> dict[str, Any]:
    """Return the `config.json` of a transformer of the four classes."""
    return {"architectures": ["ViTForImageClassification"], "id2label": ID2LABEL, **changed}


def timm_config(*, names: Sequence[str] | None = LABELS, **changed: Any) -> dict[str, Any]:
    """Return the `config.json` of a timm model; `changed` replaces parts of its `pretrained_cfg`."""
    trained = {
        "input_size": [3, 224, 224],
        "crop_pct": 0.95,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "license": "apache-2.0",
        **IMAGENET,
    }
    config: dict[str, Any] = {"architecture": "convnext_tiny", "pretrained_cfg": trained | changed}
    return config if names is None else config | {"label_names": list(names)}


def safetensors_file(path: Path, state: Mapping[str, np.ndarray], *, kind: str = "F32") -> Path:
    """Write arrays as safetensors does, as 'F32', 'F16', 'BF16' or 'F64'."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    end = 0
    for name, values in state.items():
        if kind == "BF16":
            raw = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
        else:
            raw = values.astype({"F32": np.float32, "F16": np.float16, "F64": np.float64}[kind]).tobytes()
        table[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [end, end + len(raw)]}
        parts.append(raw)
        end += len(raw)
    head = json.dumps(table).encode()
    path.write_bytes(b"".join([len(head).to_bytes(8, "little"), head, *parts]))
    return path


def archive_file(path: Path, *, weights: bytes, names: Any = None, **model: str) -> Path:
    """Write an archive of TorchServe; `names` are those of index_to_name.json."""
    with zipfile.ZipFile(path, "w") as archive:
        manifest = {"model": {"modelName": "it", "serializedFile": "it.pth", **model}}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("it.pth", weights)
        if names is not None:
            archive.writestr("index_to_name.json", json.dumps(names))
    return path


def script_bytes() -> bytes:
    """Return an archive that looks as TorchScript does."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("it/code/__torch__.py", "class Net(Module):\n  pass\n")
        archive.writestr("it/data.pkl", b"")
    return file.getvalue()


def colour_images(side: int = 224) -> list[np.ndarray]:
    """Return two images that the tiny graph tells apart."""
    return [np.full((side, side, 3), colour, np.uint8) for colour in ((250, 10, 10), (10, 20, 200))]
