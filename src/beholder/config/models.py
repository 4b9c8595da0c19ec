"""Which models the settings name, and where imported ones lie."""

from pathlib import Path

from beholder.config.settings import Settings
from beholder.model.port import ModelSpec
from beholder.model.registry import ModelRegistry

__all__ = ["find_spec", "models_folder", "served_specs"]


def models_folder(settings: Settings) -> Path:
    """Return the folder of the models that the user imported."""
    return settings.deployment.data_dir / "models"


def served_specs(settings: Settings) -> list[ModelSpec]:
    """Return the models that the settings serve, the default first.

    Raises:
        ConfigError: No model has one of the names.
        ModelInvalid: A model folder cannot be used.
    """
    specs = [find_spec(settings, name) for name in settings.worker.model]
    return list({spec.reference: spec for spec in specs}.values())


def find_spec(settings: Settings, name: str) -> ModelSpec:
    """Return a model by its name or folder.

    Raises:
        ConfigError: No model has this name.
        ModelInvalid: The model folder cannot be used.
    """
    return ModelRegistry(models_folder(settings)).find(name)
