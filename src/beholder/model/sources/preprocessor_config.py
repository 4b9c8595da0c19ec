"""Reads the preprocessing of a Hugging Face model from its `preprocessor_config.json`.

Source: transformers, image_processing_{vit,deit,convnext,clip,efficientnet,levit,mobilenet_v2,
mobilevit,perceiver,poolformer}.py and image_processing_utils.get_size_dict, 4.57; read 2026-11-28.
"""

from collections.abc import Mapping
from typing import Any

from beholder.errors import ModelInvalid
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.preprocessing_table import read_preprocessing

__all__ = ["RESAMPLING", "preprocessing_of"]

# The names of Pillow's numbers.
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# What these do to the pixels no option of the import can say; and the processor that does it by default.
_UNUSUAL = {
    "do_flip_channel_order": "MobileViT",
    "rescale_offset": None,
    "include_top": "EfficientNet",
    "do_pad": None,
}
# This one crops before it scales.
_CROPS_FIRST = "Perceiver"
# A size that is one number means the shorter side in these processors, and both sides in the others.
_SHORTEST_EDGE = ("ConvNext", "CLIP", "MobileNet", "PoolFormer")
_BOTH_EDGES = ("ViTImage", "ViTFeature", "DeiT", "Beit")
# This one scales the shorter side to 256/224 of the size.
_LARGER = "Levit"
# From this size on, ConvNextImageProcessor scales both sides and crops nothing.
_CONVNEXT_STRETCHED = 384
_BYTE = 255.0
_PIXELS_MAX = 65_536


def preprocessing_of(table: Mapping[str, Any], where: str) -> Preprocessing:
    """Return the preprocessing that a `preprocessor_config.json` describes.

    Args:
        table: Its content.
        where: Its name in messages.

    Raises:
        ModelInvalid: It describes something else, or not enough; the message names the option to give.
    """
    processor = _processor(table)
    for key, usual_for in _UNUSUAL.items():
        if table.get(key, bool(usual_for and processor.startswith(usual_for))):
            raise _unclear(where, f"has {key}, which beholder does not do")
    if processor.startswith(_CROPS_FIRST):
        raise _unclear(where, f"is that of {processor}, which crops before it scales")
    kind, size, fraction = _geometry(table, where)
    factor = table.get("rescale_factor", 1 / _BYTE) if table.get("do_rescale", True) else 1.0
    mean: Any = 0.0
    deviation: Any = 1.0
    if table.get("do_normalize", True):
        mean, deviation = table.get("image_mean"), table.get("image_std")
    try:
        entry = {
            "kind": str(kind),
            "mean": _divided(mean, factor),
            "scale": _divided(deviation, factor),
        } | ({} if size is None else {"size": size, "crop_fraction": fraction})
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        raise _unclear(where, "has no image_mean, image_std and rescale_factor that are numbers") from error
    problems: list[str] = []
    found = read_preprocessing(entry, problems)
    if found is None:
        raise _unclear(where, problems[0].removeprefix("[preprocessing] "))
    if max(map(abs, found.mean)) > _BYTE:
        raise _unclear(where, f"has the image_mean {mean}, beyond every pixel: its scale is another")
    return found


def _geometry(table: Mapping[str, Any], where: str) -> tuple[PreprocessingKind, int | None, float]:
    """Return the kind, the side of the input, and the part of the sides that is kept."""
    crops = table.get("do_center_crop")
    if not table.get("do_resize", True):
        if crops:
            raise _unclear(where, "crops without scaling")
        return PreprocessingKind.AS_IS, None, 1.0
    side, is_shortest = _side(table, where)
    if crops is None and table.get("crop_size") is not None:
        raise _unclear(where, "has a crop_size and does not say whether to crop")
    if table.get("crop_pct"):
        if not is_shortest:
            raise _unclear(where, "has a crop_pct, and a size of both sides")
        if crops and _square(table.get("crop_size"), where) != side:
            raise _unclear(where, "has a crop_pct, and a crop_size that is not its size")
        if _processor(table).startswith("ConvNext") and side >= _CONVNEXT_STRETCHED:
            return PreprocessingKind.STRETCH, side, 1.0
        return PreprocessingKind.CENTRE_CROP, side, table["crop_pct"]
    kind = PreprocessingKind.CENTRE_CROP if is_shortest else PreprocessingKind.STRETCH
    if crops:
        cropped = _square(table.get("crop_size"), where)
        return kind, cropped, cropped / side
    if is_shortest:
        raise _unclear(
            where, f"scales the shorter side to {side} and crops nothing, so that no square comes of it"
        )
    return kind, side, 1.0


def _side(table: Mapping[str, Any], where: str) -> tuple[int, bool]:
    """Return the side that the image is scaled to, and whether only its shorter side gets that."""
    size = table.get("size")
    processor = _processor(table)
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        side = _pixels(size["shortest_edge"], where)
        return (side * 256 // 224 if processor.startswith(_LARGER) else side), True
    if type(size) is not int:
        return _square(size, where), False
    if processor.startswith(_SHORTEST_EDGE) or table.get("crop_pct"):
        return _pixels(size, where), True
    if processor.startswith(_BOTH_EDGES):
        return _pixels(size, where), False
    raise _unclear(where, f"does not say whether the size {size} is that of the shorter side or of both")


def _square(size: Any, where: str) -> int:
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        size = [size["height"], size["width"]]
    if type(size) is int:
        size = [size, size]
    if not isinstance(size, list) or len(size) != 2 or size[0] != size[1]:  # noqa: PLR2004 -- height and width
        raise _unclear(where, f"has the size {size}, which is no square")
    return _pixels(size[0], where)


def _pixels(value: Any, where: str) -> int:
    if type(value) is not int or not 1 <= value <= _PIXELS_MAX:
        raise _unclear(where, f"has the size {value!r}, which is no number of pixels")
    return value


def _processor(table: Mapping[str, Any]) -> str:
    return str(table.get("image_processor_type") or table.get("feature_extractor_type") or "")


def _divided(values: Any, factor: float) -> Any:
    # (pixel x factor - mean) / deviation is (pixel - mean / factor) / (deviation / factor).
    if isinstance(values, list):
        return [round(value / factor, 6) for value in values]
    return round(values / factor, 6)


def _unclear(where: str, what: str) -> ModelInvalid:
    return ModelInvalid(f"{where} {what}; give --preprocessing, and --size, --mean and --scale as needed")
