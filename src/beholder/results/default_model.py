"""The default model of a deployment: an object of the output bucket, so that every process reads the same."""

import json
import logging

from beholder.errors import ObjectNotFound
from beholder.store.keys import DEFAULT_MODEL
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["read_default", "write_default"]

_log = logging.getLogger(__name__)


def read_default(results: Store) -> str | None:
    """Return the reference of the default model; None if none was ever chosen, so that the settings count.

    Raises:
        BackendError: The bucket cannot be read.
    """
    try:
        document = json.loads(results.get(DEFAULT_MODEL))
        return str(document["model"])
    except ObjectNotFound:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        log_event(_log, logging.WARNING, "models.default_unreadable", f"{type(exc).__name__}: {exc}")
        return None


def write_default(results: Store, reference: str) -> None:
    """Make a model the default.

    Raises:
        BackendError: The bucket cannot be written.
    """
    results.put(DEFAULT_MODEL, json.dumps({"model": reference}).encode())
