"""Reads a checkpoint of a torchvision ResNet, as torch or safetensors wrote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.checkpoint import read_checkpoint, read_safetensors
from beholder.model.folder import file_sha256
from beholder.model.preprocessing_table import AS_IS
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
from beholder.model.resnet import RESNETS, Resnet, check_resnet, find_resnet, resnet_onnx
from beholder.model.sources.labels import find_labels
from beholder.model.sources.source import Description, Known, Source, completed

__all__ = ["check_options", "read_checkpoint_file", "source_of_state"]

_SAFETENSORS = ".safetensors"


def read_checkpoint_file(file: Path, description: Description) -> Source:
    """Read a checkpoint, such as `resnet18-5c106cde.pth`.

    Args:
        file: As torch.save wrote it, in its zip or its older form, or as safetensors.
        description: What the user says.

    Raises:
        ConfigError: A file cannot be read, onnx is not installed, or an option is needed or has no
            effect.
        ModelInvalid: The checkpoint is damaged or holds no ResNet.
    """
    check_options(description)
    is_safe = file.suffix.lower() == _SAFETENSORS
    state = read_safetensors(file) if is_safe else read_checkpoint(file)
    return source_of_state(file, state, description)


def source_of_state(
    file: Path, state: Mapping[str, NDArray[Any]], description: Description, known: Known | None = None
) -> Source:
    """Make a graph of a ResNet's weights.

    Args:
        file: Where they come from.
        state: The arrays by name.
        description: What the user says. Without `labels` the names are ImageNet's, which the built-in model
            has too, if there are as many; a ResNet-18 of that many without `arch` and `preprocessing` is the
            class project's, which runs images as they are.
        known: What other files say of it; None if there are none.

    Raises:
        ConfigError: onnx is not installed, or an option is needed.
        ModelInvalid: It is no ResNet, or another than `arch`.
    """
    resnet = _resnet(file, state, description.arch)
    classes = check_resnet(state, resnet)
    imagenet = ModelRegistry().find(BUILTIN_MODEL).labels
    # One of other classes was trained further, and nothing says with which preprocessing.
    is_class_projects = description.arch is None and (resnet.name, classes) == ("resnet18", len(imagenet))
    known = known or Known(
        "ImageNet's list",
        form="checkpoint",
        labels=imagenet if len(imagenet) == classes else None,
        preprocessing=AS_IS if is_class_projects else None,
        preprocessing_from="the class project",
        licence="BSD-3-Clause",
    )
    labels, labels_from = find_labels(file, description, known.labels, known.where)
    if len(labels) != classes:
        raise ModelInvalid(
            f"{file} has {classes} classes, the labels are {len(labels)}; give its own label file by --labels"
        )
    form = f"{known.form}, a {resnet.name} as torchvision's"
    whole, preprocessing_from = completed(
        description, known, source=f"{file.name}, sha256 {file_sha256(file)}"
    )
    return Source(file, form, resnet_onnx(state, resnet), labels, labels_from, whole, preprocessing_from)


def _resnet(file: Path, state: Mapping[str, NDArray[Any]], arch: str | None) -> Resnet:
    """Return the ResNet that the user names, or else the one that has these names and shapes."""
    found = RESNETS.get(arch) if arch else find_resnet(state)
    if found is None:
        what = f"'{arch}' is not built here" if arch else f"{file} is no ResNet of torchvision"
        raise ModelInvalid(
            f"{what} (those are {', '.join(RESNETS)}; --arch says how one differs); export it where torch is "
            f'installed, and import the ONNX file: python -c "import torch, torchvision; m = '
            f"torchvision.models.get_model('{arch or 'NAME'}'); m.load_state_dict(torch.load('{file}', "
            "weights_only=True)); torch.onnx.export(m.eval(), torch.zeros(1, 3, 224, 224), 'model.onnx')\""
        )
    return found


def check_options(description: Description) -> None:
    """Refuse options that have no effect on a checkpoint.

    Raises:
        ConfigError: There are such options.
    """
    given = {
        "output": description.output,
        "logits" if description.outputs_probabilities is False else "probabilities": (
            description.outputs_probabilities
        ),
    }
    if problems := [
        f"--{key} is for ONNX files; leave it out" for key, value in given.items() if value is not None
    ]:
        raise ConfigError(problems)
