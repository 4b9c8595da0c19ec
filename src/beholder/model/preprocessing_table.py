"""Reads and writes the `preprocessing` entry of `model.toml`."""

from typing import Any

from beholder.model.port import Preprocessing, PreprocessingKind

__all__ = ["AS_IS", "TORCHVISION", "read_preprocessing", "write_preprocessing"]

# The short form `preprocessing = "as-is"`: the pixels divided by 255, at the image's own size.
AS_IS = Preprocessing(kind=PreprocessingKind.AS_IS, size=None)

# The preprocessing of torchvision's training: resize to 256, crop 224, ImageNet's mean and deviation.
# Source: torchvision/models/resnet.py, ResNet18_Weights.IMAGENET1K_V1, and transforms/_presets.py, 0.29.2.
TORCHVISION = Preprocessing(
    kind=PreprocessingKind.CENTRE_CROP,
    size=224,
    crop_fraction=0.875,
    mean=(123.675, 116.28, 103.53),
    scale=(58.395, 57.12, 57.375),
)

_DEFAULT = Preprocessing()
_SIZE_MAX = 4096
_COLOURS = 3
_NUMBER_MAX = 1e30


def read_preprocessing(entry: Any, problems: list[str]) -> Preprocessing | None:
    """Read the entry; append its problems to `problems`, and return None if there are any.

    Args:
        entry: The text "as-is", or a table with `kind` and, as needed, `size`, `crop_fraction`, `mean` and
            `scale` (a number, or three for red, green and blue), `height_min` and `width_min`.
        problems: Receives a sentence for each problem.
    """
    if entry == AS_IS.kind:
        return AS_IS
    if not isinstance(entry, dict):
        problems.append('preprocessing must be "as-is" or a table [preprocessing] with a kind')
        return None
    count_before = len(problems)
    kind = _kind(entry, problems)
    known = ["kind", "mean", "scale"] + (
        ["size", "crop_fraction"] if kind is not PreprocessingKind.AS_IS else ["height_min", "width_min"]
    )
    problems.extend(
        f"[preprocessing] has the key '{key}', which {kind or 'no kind'} does not take; remove it"
        for key in entry
        if key not in known
    )
    size, height_min, width_min = (
        _pixels(key, entry.get(key, default), problems)
        for key, default in (("size", _DEFAULT.size), ("height_min", 1), ("width_min", 1))
    )
    crop_fraction = _crop_fraction(entry.get("crop_fraction", _DEFAULT.crop_fraction), problems)
    mean = _colours("mean", entry.get("mean", 0.0), problems)
    scale = _colours("scale", entry.get("scale", 255.0), problems)
    if 0.0 in scale:
        problems.append("[preprocessing] scale divides, so it cannot be 0; write 1 to leave the values alone")
    if kind is None or len(problems) > count_before:
        return None
    if kind is PreprocessingKind.AS_IS:
        return Preprocessing(
            kind=kind, size=None, mean=mean, scale=scale, height_min=height_min, width_min=width_min
        )
    return Preprocessing(kind=kind, size=size, crop_fraction=crop_fraction, mean=mean, scale=scale)


def write_preprocessing(preprocessing: Preprocessing) -> str:
    """Return the `[preprocessing]` table as TOML text."""
    lines = ["[preprocessing]", f'kind = "{preprocessing.kind}"']
    if preprocessing.kind is not PreprocessingKind.AS_IS:
        lines += [f"size = {preprocessing.size}", f"crop_fraction = {preprocessing.crop_fraction!r}"]
    else:
        lines += [f"height_min = {preprocessing.height_min}", f"width_min = {preprocessing.width_min}"]
    lines += [f"mean = {list(preprocessing.mean)!r}", f"scale = {list(preprocessing.scale)!r}"]
    return "\n".join(lines) + "\n"


def _kind(entry: dict[str, Any], problems: list[str]) -> PreprocessingKind | None:
    kind = entry.get("kind")
    if kind in list(PreprocessingKind):
        return PreprocessingKind(kind)
    problems.append(f"[preprocessing] kind must be 'centre-crop', 'stretch' or 'as-is', not {kind!r}")
    return None


def _pixels(key: str, value: Any, problems: list[str]) -> int:
    if type(value) is int and 1 <= value <= _SIZE_MAX:
        return value
    problems.append(
        f"[preprocessing] {key} must be a whole number from 1 to {_SIZE_MAX} (pixels), not {value!r}"
    )
    return 1


def _crop_fraction(value: Any, problems: list[str]) -> float:
    if type(value) in (int, float) and 0.0 < value <= 1.0:
        return float(value)
    problems.append(f"[preprocessing] crop_fraction must be above 0 and at most 1, not {value!r}")
    return 1.0


def _colours(key: str, value: Any, problems: list[str]) -> tuple[float, float, float]:
    values = value if isinstance(value, list) else [value] * _COLOURS
    # TOML has inf, nan, and numbers that a float32 cannot hold.
    if len(values) == _COLOURS and all(type(x) in (int, float) and abs(x) < _NUMBER_MAX for x in values):
        red, green, blue = (float(x) for x in values)
        return red, green, blue
    problems.append(
        f"[preprocessing] {key} must be a number, or three for red, green and blue, not {value!r}"
    )
    return 1.0, 1.0, 1.0
