"""Make a model folder from an ONNX graph, or from a torchvision ResNet-18 checkpoint.

The folder is written beside its destination under a hidden name, read back and loaded once, and only then
renamed: a model folder is whole or not there.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.checkpoint import read_checkpoint
from beholder.model.folder import (
    GRAPH_FILE,
    LABELS_FILE,
    MODEL_FILE,
    file_sha256,
    is_model_name,
    read_model,
)
from beholder.model.port import Classifier, ModelSpec, Preprocessing, PreprocessingKind
from beholder.model.preprocessing_table import AS_IS, write_preprocessing
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
from beholder.model.resnet import check_resnet18, resnet18_onnx

__all__ = ["TORCHVISION", "Description", "import_onnx", "import_resnet18"]

# What torchvision's weights were trained with: resize to 256, crop 224, ImageNet's mean and deviation.
# Source: torchvision/models/resnet.py, ResNet18_Weights.IMAGENET1K_V1, and transforms/_presets.py, 0.29.2.
TORCHVISION = Preprocessing(
    kind=PreprocessingKind.CENTRE_CROP,
    size=224,
    crop_fraction=0.875,
    mean=(123.675, 116.28, 103.53),
    scale=(58.395, 57.12, 57.375),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Description:
    """What `model.toml` will say of a model.

    Args:
        name: Names the model in requests and answers.
        version: Echoed in every answer.
        licence: SPDX identifier of the weights' licence.
        source: Where the weights come from.
        outputs_probabilities: The graph ends in a softmax.
        preprocessing: From pixels to the graph's input.
    """

    name: str
    version: str
    licence: str
    source: str
    outputs_probabilities: bool = False
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def import_onnx(
    onnx: Path,
    labels: Path,
    destination: Path,
    description: Description,
    *,
    load: Callable[[ModelSpec], Classifier],
) -> ModelSpec:
    """Make a model folder from a graph and its labels.

    Args:
        onnx: One input (n, 3, height, width) float32, one output (n, classes), its weights inside.
        labels: One class name per line, by class number.
        destination: The folder to make; its parents are made too.
        description: What `model.toml` will say.
        load: Returns the classifier that the new model is tried on before it is kept.

    Returns:
        The model, as read back from its folder.

    Raises:
        ConfigError: The name cannot be given, the destination exists or cannot be written, or a file cannot
            be read.
        ModelInvalid: The model cannot be used; it says why.
    """
    _check_name(description.name)

    def fill(folder: Path) -> None:
        shutil.copyfile(onnx, folder / GRAPH_FILE)
        shutil.copyfile(labels, folder / LABELS_FILE)

    return _make_folder(destination, description, fill, load)


def import_resnet18(
    checkpoint: Path,
    destination: Path,
    *,
    load: Callable[[ModelSpec], Classifier],
    labels: Path | None = None,
    name: str = "resnet18",
    version: str = "1",
    licence: str = "BSD-3-Clause",
    preprocessing: Preprocessing = AS_IS,
) -> ModelSpec:
    """Make a model folder from a torchvision ResNet-18 checkpoint, such as `resnet18-5c106cde.pth`.

    Args:
        checkpoint: As torch.save wrote it, in its zip or its older form.
        destination: The folder to make; its parents are made too.
        load: Returns the classifier that the new model is tried on before it is kept.
        labels: One class name per line; None takes ImageNet's, which the built-in model has too.
        name: Names the model in requests and answers.
        version: Echoed in every answer.
        licence: SPDX identifier of the weights' licence.
        preprocessing: `AS_IS` divides by 255 and leaves the size alone, as `transforms.ToTensor` does;
            `TORCHVISION` is what the weights were trained with, and more accurate.

    Returns:
        The model, as read back from its folder.

    Raises:
        ConfigError: The name cannot be given, the destination exists or cannot be written, a file cannot be
            read, or torch or onnx is not installed.
        ModelInvalid: The checkpoint is damaged or holds no ResNet-18; it says what is missing.
    """
    _check_name(name)
    _refuse_existing(destination)
    state = read_checkpoint(checkpoint)
    classes = check_resnet18(state)
    names = _lines(labels) if labels else ModelRegistry().find(BUILTIN_MODEL).labels
    if len(names) != classes:
        raise ModelInvalid(
            f"{checkpoint} has {classes} classes, the labels are {len(names)}; give its own label file"
        )
    source = f"{checkpoint.name}, sha256 {file_sha256(checkpoint)}"
    description = Description(name, version, licence, source, preprocessing=preprocessing)

    def fill(folder: Path) -> None:
        (folder / GRAPH_FILE).write_bytes(resnet18_onnx(state))
        (folder / LABELS_FILE).write_text("\n".join(names) + "\n", encoding="utf-8")

    return _make_folder(destination, description, fill, load)


def _make_folder(
    destination: Path,
    description: Description,
    fill: Callable[[Path], None],
    load: Callable[[ModelSpec], Classifier],
) -> ModelSpec:
    _refuse_existing(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".import-", dir=destination.parent))
    except OSError as error:
        raise ConfigError(
            f"{destination.parent} cannot be written ({error.strerror}); give another"
        ) from error
    try:
        fill(folder)
        (folder / MODEL_FILE).write_text(
            _toml(description, file_sha256(folder / GRAPH_FILE)), encoding="utf-8"
        )
        load(_read(folder, destination)).warm_up()
        # mkdtemp lets only its owner in; a model may be served by another user.
        folder.chmod(0o755)
        # Fails where another import has been quicker, because a folder with files in it is not replaced.
        folder.rename(destination)
    except OSError as error:
        what = error.filename or destination
        raise ConfigError(f"{what}: {error.strerror}; the import was undone") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return read_model(destination)


def _read(folder: Path, destination: Path) -> ModelSpec:
    """Read the unfinished folder, and speak of it by the name it will have."""
    try:
        return read_model(folder)
    except ModelInvalid as error:
        problems = [problem.replace(os.fspath(folder), os.fspath(destination)) for problem in error.problems]
        raise ModelInvalid(problems) from error


def _check_name(name: str) -> None:
    """Refuse a name before any path is made of it: an empty one would lead to the folder of all models."""
    if not is_model_name(name):
        raise ConfigError(
            f"the name '{name}' cannot be used; begin with a lower-case letter or a digit and go on with "
            "lower-case letters, digits, '.', '_' and '-'"
        )
    # A built-in model is found first, so another of its name could never be served.
    if any(name == entry.name for entry in ModelRegistry().list_models()):
        raise ConfigError(f"'{name}' is the name of the built-in model; give another")


def _refuse_existing(destination: Path) -> None:
    if destination.exists():
        raise ConfigError(f"{destination} exists; remove it first, or give the model another name")


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file with one class name per line") from error
    except UnicodeDecodeError as error:
        raise ModelInvalid(f"{path} is not UTF-8 text; save it as UTF-8") from error


def _toml(description: Description, sha256: str) -> str:
    texts = {
        "name": description.name,
        "version": description.version,
        "licence": description.licence,
        "source": description.source,
        "sha256": sha256,
        "labels": LABELS_FILE,
        "output": "probabilities" if description.outputs_probabilities else "logits",
    }
    head = "\n".join(f"{key} = {_quoted(value)}" for key, value in texts.items())
    return f"{head}\n\n{write_preprocessing(description.preprocessing)}"


def _quoted(text: str) -> str:
    """Write a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", escaped) + '"'
