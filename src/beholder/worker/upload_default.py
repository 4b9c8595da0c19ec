"""The default model for objects that come without a web process, which chooses that of every other job."""

import logging

from beholder.clock import Clock
from beholder.errors import BackendError
from beholder.results.default_model import read_default
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["UploadDefault"]

_log = logging.getLogger(__name__)

# As for web processes.
_AGE_S_MAX = 1.0


class UploadDefault:
    """Reads the default model of the output bucket, at most once a second.

    Args:
        results: The output bucket.
        clock: The time.
    """

    def __init__(self, results: Store, clock: Clock) -> None:
        self._results = results
        self._clock = clock
        self._read_at_s = float("-inf")
        self._reference: str | None = None

    def get(self) -> str | None:
        """Return its reference, the last one while the bucket does not answer; None if none was chosen."""
        now_s = self._clock.now_s()
        if not 0 <= now_s - self._read_at_s < _AGE_S_MAX:
            try:
                self._reference = read_default(self._results)
            except BackendError as exc:
                log_event(_log, logging.WARNING, "models.default_unread", exc.message)
            self._read_at_s = now_s
        return self._reference
