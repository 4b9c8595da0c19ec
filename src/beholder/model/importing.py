"""Makes a model folder from an ONNX graph, or from a torchvision ResNet-18 checkpoint.

The folder is written beside its destination under a hidden name, read back and loaded once, and then renamed,
so that a model folder is complete or does not exist.
"""

import errno
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from beholder.errors import ConfigError, JobError, ModelInvalid
from beholder.model.checkpoint import read_checkpoint
from beholder.model.external_data import read_whole_graph
from beholder.model.folder import (
    GRAPH_FILE,
    LABELS_FILE,
    MODEL_FILE,
    NAME_RULE,
    file_sha256,
    is_model_name,
    read_model,
)
from beholder.model.graph import Graph
from beholder.model.port import Classifier, ModelSpec, Preprocessing
from beholder.model.preprocessing_table import AS_IS, TORCHVISION, write_preprocessing
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
from beholder.model.resnet import check_resnet18, resnet18_onnx
from beholder.model.trial import find_output, find_preprocessing, find_smallest, try_batches

__all__ = ["TORCHVISION", "Description", "import_onnx", "import_resnet18"]

_LEFTOVER_S = 3600.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Description:
    """What `model.toml` will say of a model.

    Args:
        name: Names the model in requests and answers.
        version: Echoed in every answer.
        licence: SPDX identifier of the weights' licence.
        source: Where the weights come from.
        outputs_probabilities: The graph ends in a softmax; None runs the graph to find out.
        preprocessing: From pixels to the graph's input; None takes torchvision's, or raw pixels if the graph
            takes uint8.
        size: Side of the input in pixels; None takes the graph's own, or else that of `preprocessing`.
    """

    name: str
    version: str
    licence: str
    source: str
    outputs_probabilities: bool | None = None
    preprocessing: Preprocessing | None = None
    size: int | None = None


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
        onnx: One input (n, 3, height, width) or (n, height, width, 3), one output (n, classes); its weights
            inside, or in files beside it.
        labels: One class name per line, by class number.
        destination: The folder to make; its parents are made too.
        description: What `model.toml` will say.
        load: Returns a classifier, to try the new model before it is kept.

    Raises:
        ConfigError: The name cannot be used, the destination exists or cannot be written, or a file cannot
            be read.
        ModelInvalid: The model cannot be used, or contradicts `description`.
    """
    _check_name(description.name, destination)
    try:
        content = read_whole_graph(onnx)
    except OSError as error:
        raise ConfigError(f"{onnx}: {error.strerror}; give the path of an ONNX file") from error
    source = _Source(onnx, content, _lines(labels), labels)
    return _make_folder(destination, description, source, load)


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
        load: Returns a classifier, to try the new model before it is kept.
        labels: One class name per line; None takes ImageNet's, which the built-in model has too.
        name: Names the model in requests and answers.
        version: Echoed in every answer.
        licence: SPDX identifier of the weights' licence.
        preprocessing: `AS_IS` divides by 255 and leaves the size alone, as `transforms.ToTensor` does;
            `TORCHVISION` is what the weights were trained with, and more accurate.

    Raises:
        ConfigError: The name cannot be used, the destination exists or cannot be written, a file cannot be
            read, or torch or onnx is not installed.
        ModelInvalid: The checkpoint is damaged or holds no ResNet-18.
    """
    _check_name(name, destination)
    state = read_checkpoint(checkpoint)
    classes = check_resnet18(state)
    names = _lines(labels) if labels else ModelRegistry().find(BUILTIN_MODEL).labels
    if len(names) != classes:
        raise ModelInvalid(
            f"{checkpoint} has {classes} classes, the labels are {len(names)}; give its own label file"
        )
    source = f"{checkpoint.name}, sha256 {file_sha256(checkpoint)}"
    description = Description(name, version, licence, source, preprocessing=preprocessing)
    return _make_folder(
        destination, description, _Source(checkpoint, resnet18_onnx(state), names, labels), load
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """The parts of a model, and the user's files that messages name."""

    file: Path
    graph: bytes
    labels: tuple[str, ...]
    labels_file: Path | None


def _make_folder(
    destination: Path,
    description: Description,
    source: _Source,
    load: Callable[[ModelSpec], Classifier],
) -> ModelSpec:
    graph = Graph(source.graph, str(source.file))
    graph.check_labels(len(source.labels), str(source.labels_file or "the label list"))
    preprocessing = find_preprocessing(graph, description.preprocessing, description.size)
    settled = replace(
        description,
        preprocessing=preprocessing,
        outputs_probabilities=find_output(graph, preprocessing, declared=description.outputs_probabilities),
    )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".import-", dir=destination.parent))
        _remove_leftovers(folder)
    except OSError as error:
        raise ConfigError(
            f"{destination.parent} cannot be written ({error.strerror}); give another"
        ) from error
    try:
        _fill(folder, settled, source)
        _try(folder, graph, settled, load)
        # mkdtemp admits only its owner, and another user may serve the model.
        folder.chmod(0o755)
        # Fails if another import was quicker, because a rename does not replace a folder with files in it.
        folder.rename(destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _is_taken(destination) from error
        what = str(error.filename or destination).replace(str(folder), str(destination))
        raise ConfigError(f"{what}: {error.strerror}; the import was undone") from error
    except ModelInvalid as error:
        problems = [_told(problem, folder, destination, source) for problem in error.problems]
        raise ModelInvalid(problems) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return read_model(destination)


def _remove_leftovers(new: Path) -> None:
    """Remove what killed imports and removals left, which live ones finish within an hour.

    Args:
        new: A folder that was just made beside them; its time is the present.
    """
    oldest_s = new.stat().st_mtime - _LEFTOVER_S
    for pattern in (".import-*", ".removed-*"):
        for folder in new.parent.glob(pattern):
            if folder.stat().st_mtime < oldest_s:
                shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: Path, description: Description, source: _Source) -> None:
    (folder / GRAPH_FILE).write_bytes(source.graph)
    (folder / LABELS_FILE).write_text("\n".join(source.labels) + "\n", encoding="utf-8")
    (folder / MODEL_FILE).write_text(_toml(description, file_sha256(folder / GRAPH_FILE)), encoding="utf-8")


def _try(
    folder: Path, graph: Graph, description: Description, load: Callable[[ModelSpec], Classifier]
) -> None:
    """Run the new model; if it takes any size, write down the smallest."""
    spec = read_model(folder)
    classifier = load(spec)
    classifier.warm_up()
    preprocessing = spec.preprocessing
    try:
        try_batches(classifier, preprocessing.size or graph.reference, str(spec.onnx_path))
    except JobError as error:
        raise ModelInvalid(f"{spec.onnx_path}: {error.message}") from error
    if preprocessing.size is None:
        height_min, width_min = find_smallest(classifier, graph.reference)
        preprocessing = replace(preprocessing, height_min=height_min, width_min=width_min)
        text = _toml(replace(description, preprocessing=preprocessing), spec.sha256)
        (folder / MODEL_FILE).write_text(text, encoding="utf-8")


def _told(problem: str, folder: Path, destination: Path, source: _Source) -> str:
    """Name the user's own files in a message instead of their copies in a folder that is gone."""
    labels = str(source.labels_file or LABELS_FILE)
    for ours, theirs in (
        (f"{folder}: {LABELS_FILE}", labels),
        (f"{folder}: {GRAPH_FILE}", str(source.file)),
        (str(folder / GRAPH_FILE), str(source.file)),
        (str(folder), str(destination)),
    ):
        problem = problem.replace(ours, theirs)
    return problem


def _check_name(name: str, destination: Path) -> None:
    """Refuse a name before a path is made of it: an empty name would mean the folder of all models."""
    if not is_model_name(name):
        raise ConfigError(f"the name '{name}' cannot be used; {NAME_RULE}")
    # A built-in model is found first, so another model of its name could never be served.
    if any(name == entry.name for entry in ModelRegistry().list_models()):
        raise ConfigError(f"'{name}' is the name of the built-in model; give another")
    if destination.exists():
        raise _is_taken(destination)
    for entry in ModelRegistry(destination.parent).list_models():
        if entry.name == name:
            raise ConfigError(f"{entry.folder} already has the name '{name}'; give another")


def _is_taken(destination: Path) -> ConfigError:
    return ConfigError(
        f"{destination} exists; remove it first (beholder models remove {destination.name}), "
        "or give the model another name"
    )


def _lines(path: Path) -> tuple[str, ...]:
    try:
        # Empty lines at the end are ignored; an empty line between names is reported with its number.
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file with one class name per line") from error
    except UnicodeDecodeError as error:
        raise ModelInvalid(f"{path} is not UTF-8 text; save it as UTF-8") from error
    if not text:
        raise ModelInvalid(f"{path} is empty; write one class name per line, by class number")
    if _is_json(text):
        raise ModelInvalid(
            f"{path} is JSON; write one class name per line, by class number, and nothing else"
        )
    return tuple(text.split("\n"))


def _is_json(text: str) -> bool:
    """Say whether a text is a JSON list or object, which may have as many lines as there are classes."""
    if not text.startswith(("[", "{")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


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
    return f"{head}\n\n{write_preprocessing(description.preprocessing or TORCHVISION)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", escaped) + '"'
