"""Reads a folder as Hugging Face's hub has it: an ONNX file, `config.json`, `preprocessor_config.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.checkpoint import read_safetensors
from beholder.model.port import Preprocessing
from beholder.model.resnet import RESNETS
from beholder.model.sources.checkpoint_file import check_options, source_of_state
from beholder.model.sources.config_file import names_by_number, read_json
from beholder.model.sources.onnx_file import read_onnx_file
from beholder.model.sources.preprocessor_config import RESAMPLING, preprocessing_of
from beholder.model.sources.source import Description, Known, Source
from beholder.model.sources.timm_config import is_plain, is_timm, read_timm_config

__all__ = ["read_folder"]

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_GRAPHS, _WEIGHTS = ("model.onnx", "onnx/model.onnx"), "model.safetensors"
# transformers' name for a class without one.
_UNNAMED = "LABEL_"
# Its loss is that of a sigmoid for each class.
# Source: transformers 4.57, modeling_utils and `ImageClassificationPipeline`, which applies the sigmoid then.
_MULTI_LABEL = "multi_label_classification"
_THRESHOLD = 0.5


def read_folder(folder: Path, description: Description) -> Source:
    """Read a folder of transformers, optimum or timm.

    Args:
        folder: Holds `config.json`, and the graph as `model.onnx` or `onnx/model.onnx`; a ResNet of timm
            may be in `model.safetensors` instead, with torchvision's names.
        description: What the user says; it counts before what the folder says.

    Raises:
        ConfigError: A file cannot be read, or an option is needed or has no effect.
        ModelInvalid: The folder holds no graph, or no classifier of images.
    """
    if not (folder / _CONFIG).is_file():
        raise ConfigError(
            f"{folder} has no {_CONFIG}; give a folder of Hugging Face or timm, or an ONNX file"
        )
    config = read_json(folder / _CONFIG)
    wants_preprocessing = description.preprocessing is None
    where = str(folder / _CONFIG)
    if is_timm(config):
        known = read_timm_config(config, where, wants_preprocessing=wants_preprocessing)
        weights = folder / _WEIGHTS
        if is_plain(config, RESNETS) and weights.is_file() and not _graphs(folder):
            check_options(description)
            return source_of_state(weights, read_safetensors(weights), description, known)
        return read_onnx_file(_graph(folder, _timm_export(config)), description, known)
    kind = _check_task(config, where)
    preprocessing, preprocessing_from = _preprocessing(folder) if wants_preprocessing else (None, "")
    known = Known(
        where,
        form=f"Hugging Face {kind}",
        labels=_labels(config, where),
        preprocessing=preprocessing,
        preprocessing_from=preprocessing_from,
        thresholds=(_THRESHOLD,) if config.get("problem_type") == _MULTI_LABEL else (),
    )
    export = f"optimum-cli export onnx --model {folder} --task image-classification {folder}-onnx"
    return read_onnx_file(_graph(folder, export), description, known)


def _graph(folder: Path, export: str) -> Path:
    if graphs := _graphs(folder):
        return graphs[0]
    raise ModelInvalid(
        f"{folder} has no {' or '.join(_GRAPHS)}; make one where the model's own packages "
        f"are installed: {export}"
    )


def _graphs(folder: Path) -> list[Path]:
    return [folder / name for name in _GRAPHS if (folder / name).is_file()]


def _timm_export(config: Mapping[str, Any]) -> str:
    name = config.get("architecture", "NAME")
    return (
        f"python -c \"import timm, torch; m = timm.create_model('{name}', pretrained=True).eval(); "
        "torch.onnx.export(m, torch.zeros(1, *m.pretrained_cfg['input_size']), 'model.onnx')\""
    )


def _check_task(config: Mapping[str, Any], where: str) -> str:
    """Return the model's class, such as 'ViTForImageClassification'; refuse those that do not classify."""
    kinds = config.get("architectures") or []
    if not isinstance(kinds, list):
        raise ModelInvalid(f"{where}: architectures is no list; copy the model's own file again")
    if kinds and not any("ImageClassification" in str(kind) for kind in kinds):
        raise ModelInvalid(
            f"{where}: a {kinds[0]} is no classifier of images; beholder serves no other models"
        )
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification", _MULTI_LABEL):
        raise ModelInvalid(f"{where} has the problem_type {problem}; beholder serves classifiers only")
    return str(kinds[0] if kinds else config.get("model_type", "model"))


def _labels(config: Mapping[str, Any], where: str) -> Sequence[str] | None:
    if "id2label" not in config:
        return None
    names = names_by_number(config["id2label"], where)
    return None if all(name.startswith(_UNNAMED) for name in names) else names


def _preprocessing(folder: Path) -> tuple[Preprocessing | None, str]:
    path = folder / _PREPROCESSOR
    if not path.is_file():
        return None, ""
    table = read_json(path)
    resample = table.get("resample")
    name = RESAMPLING.get(resample) if isinstance(resample, int) else None
    scaling = f", scaled by area or cubic, not {name}" if name else ""
    return preprocessing_of(table, str(path)), f"{path}{scaling}"
