"""Imports models as the command does, without showing what was understood."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from beholder.model.importing import import_model
from beholder.model.port import Classifier, ModelSpec
from beholder.model.sources.source import Description


def import_onnx(
    onnx: Path,
    labels: Path | None,
    destination: Path,
    description: Description,
    *,
    load: Callable[[ModelSpec], Classifier],
) -> ModelSpec:
    """Import a graph with its labels."""
    return import_model(
        onnx, destination, replace(description, labels=labels), load=load, tell=lambda _: None
    )


def import_checkpoint(
    checkpoint: Path,
    destination: Path,
    *,
    load: Callable[[ModelSpec], Classifier],
    name: str = "resnet18",
    **described: Any,
) -> ModelSpec:
    """Import a checkpoint."""
    return import_model(
        checkpoint, destination, Description(name, **described), load=load, tell=lambda _: None
    )
