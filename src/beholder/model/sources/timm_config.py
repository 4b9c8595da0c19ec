"""Reads what the `config.json` of a timm model says of it.

Source: timm/models/_hub.py (save_for_hf) and timm/data/transforms_factory.py, 1.0; read 2026-11-28.
"""

from collections.abc import Collection, Mapping
from typing import Any

from beholder.errors import ModelInvalid
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.preprocessing_table import read_preprocessing
from beholder.model.sources.config_file import names_by_number
from beholder.model.sources.source import Known

__all__ = ["is_plain", "is_timm", "read_timm_config"]

_KINDS = {"center": PreprocessingKind.CENTRE_CROP, "squash": PreprocessingKind.STRETCH}
_BYTE = 255.0
_COLOURS = 3
# Arguments of a model that its weights show, or that only training uses.
_HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate", "drop_block_rate"}


def is_timm(config: Mapping[str, Any]) -> bool:
    """Say whether a `config.json` is timm's."""
    return isinstance(config.get("pretrained_cfg"), dict)


def is_plain(config: Mapping[str, Any], architectures: Collection[str]) -> bool:
    """Say whether a model is one of these as it is by default, so that its weights alone say what it does."""
    arguments = config.get("model_args") or {}
    return (
        config.get("architecture") in list(architectures)
        and isinstance(arguments, dict)
        and not arguments.keys() - _HARMLESS
        and config.get("global_pool", "avg") == "avg"
    )


def read_timm_config(config: Mapping[str, Any], where: str, *, wants_preprocessing: bool) -> Known:
    """Return what it says.

    Args:
        config: Its content.
        where: Its name in messages.
        wants_preprocessing: False if the user says it.

    Raises:
        ModelInvalid: It describes something that cannot be served; the message names the option to give.
    """
    trained = config["pretrained_cfg"]
    names = config.get("label_names") or trained.get("label_names")
    words = config.get("label_descriptions") or trained.get("label_descriptions") or {}
    labels = None
    if isinstance(names, list) and isinstance(words, dict):
        labels = names_by_number(enumerate(words.get(name, name) for name in names), where)
    return Known(
        where,
        form=f"timm {config.get('architecture', 'model')}",
        labels=labels,
        preprocessing=_preprocessing(trained, where) if wants_preprocessing else None,
        licence=str(trained.get("license") or ""),
    )


def _preprocessing(trained: Mapping[str, Any], where: str) -> Preprocessing:
    mode = trained.get("crop_mode") or "center"
    size: Any = trained.get("input_size")
    problems: list[str] = []
    if mode not in list(_KINDS):
        problems.append(f"crop_mode {mode!r} is not done here")
    if not isinstance(size, list) or len(size) != _COLOURS or size[0] != _COLOURS or size[1] != size[2]:
        problems.append(f"input_size {size} is no square of three colours")
    if problems:
        raise _unclear(where, problems)
    try:
        entry = {
            "kind": str(_KINDS[mode]),
            "size": size[1],
            "crop_fraction": trained.get("crop_pct"),
            "mean": [round(value * _BYTE, 6) for value in trained["mean"]],
            "scale": [round(value * _BYTE, 6) for value in trained["std"]],
        }
    except (KeyError, TypeError, OverflowError) as error:
        raise _unclear(where, ["it has no mean and std that are numbers"]) from error
    found = read_preprocessing(entry, problems)
    if found is None:
        raise _unclear(where, problems)
    if max(map(abs, found.mean)) > _BYTE:
        raise _unclear(where, [f"the mean {trained['mean']} is beyond every pixel: its scale is another"])
    return found


def _unclear(where: str, problems: list[str]) -> ModelInvalid:
    text = problems[0].removeprefix("[preprocessing] ")
    return ModelInvalid(f"{where}: {text}; give --preprocessing, and --size, --mean and --scale as needed")
