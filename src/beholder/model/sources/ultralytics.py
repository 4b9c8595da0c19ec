"""Reads what ultralytics writes into the metadata of an ONNX file.

Source: ultralytics/engine/exporter.py (metadata) and ultralytics/data/augment.py (classify_transforms),
8.3; read 2026-11-28.
"""

import ast
from collections.abc import Mapping
from pathlib import Path

from beholder.errors import ModelInvalid
from beholder.model.port import Preprocessing
from beholder.model.sources.config_file import names_by_number
from beholder.model.sources.source import Known

__all__ = ["read_metadata"]

_CLASSIFY = "classify"


def read_metadata(file: Path, metadata: Mapping[str, str]) -> Known | None:
    """Return what the metadata says; None if ultralytics did not write it.

    Args:
        file: The ONNX file, for messages.
        metadata: Its texts by key; `names` is a Python dict written out.

    Raises:
        ModelInvalid: The model is no classifier, or the metadata is damaged.
    """
    task = metadata.get("task")
    if task is None or "names" not in metadata:
        return None
    if task != _CLASSIFY:
        raise ModelInvalid(
            f"{file} is an ultralytics model for the task '{task}'; beholder serves classifiers, such as "
            "yolo11n-cls"
        )
    where = f"the metadata of {file}"
    try:
        # Literals only: nothing is run.
        names = ast.literal_eval(metadata["names"])
        height, width = ast.literal_eval(metadata["imgsz"])
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise ModelInvalid(f"{where} has no names and imgsz; export the model again") from error
    if type(height) is not int or height != width:
        raise ModelInvalid(f"{where} has the size {height} x {width}; only squares are served")
    # Its own transform scales the shorter side to the input, crops the square and divides by 255.
    preprocessing = Preprocessing(size=height, crop_fraction=1.0)
    return Known(where, "ultralytics classifier", names_by_number(names, where), preprocessing)
