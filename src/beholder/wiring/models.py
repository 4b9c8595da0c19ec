"""The models that the settings name."""

from typing import TYPE_CHECKING

from beholder.config import Settings
from beholder.config.models import fetched_folder, models_folder
from beholder.model.fetching import BucketModel, fetch_model, is_in_bucket, list_bucket
from beholder.model.port import ModelSpec
from beholder.model.registry import ModelRegistry

if TYPE_CHECKING:
    from beholder.store.s3_reader import S3Reader

__all__ = ["find_spec", "models_in_bucket", "served_specs"]

# For 8 MB at most, so a line of 2 Mbit/s is fast enough.
_TIMEOUT_S = 30.0
_RETRIES_MAX = 4


def served_specs(settings: Settings) -> list[ModelSpec]:
    """Return the models that the settings serve, the default first.

    Raises:
        ConfigError: No model has one of the names.
        ModelInvalid: A model folder cannot be used.
    """
    specs = [find_spec(settings, name) for name in settings.worker.model]
    return list({spec.reference: spec for spec in specs}.values())


def find_spec(settings: Settings, name: str) -> ModelSpec:
    """Return a model by its name, its folder or its address in a bucket.

    Raises:
        ConfigError: No model has this name.
        ModelInvalid: The model folder cannot be used.
    """
    if is_in_bucket(name):
        return fetch_model(name, fetched_folder(settings), _reader(settings))
    return ModelRegistry(models_folder(settings)).find(name)


def models_in_bucket(settings: Settings, address: str) -> list[BucketModel]:
    """Return the models at an address in a bucket, or one folder below it.

    Raises:
        ConfigError: There is none, or the bucket may not be listed.
    """
    return list_bucket(address, _reader(settings))


def _reader(settings: Settings) -> "S3Reader":
    from beholder.wiring.aws import open_reader  # noqa: PLC0415 -- a start without a bucket needs no client of S3

    return open_reader(settings.deployment.region, timeout_s=_TIMEOUT_S, retries_max=_RETRIES_MAX)
