"""Where imported models lie, and those that were fetched."""

from pathlib import Path

from beholder.config.settings import Settings

__all__ = ["fetched_folder", "models_folder"]


def models_folder(settings: Settings) -> Path:
    """Return the folder of the models that the user imported."""
    return settings.deployment.data_dir / "models"


def fetched_folder(settings: Settings) -> Path:
    """Return the folder that caches the models of buckets."""
    return settings.deployment.data_dir / "fetched-models"
