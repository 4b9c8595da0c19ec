"""The models served with the default that counts now, which the output bucket has."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from beholder.clock import Clock
from beholder.errors import BackendError
from beholder.job.reference import split_reference
from beholder.results.default_model import read_default, write_default
from beholder.store.port import Store
from beholder.store.shared_reading import SharedReading
from beholder.telemetry.log import log_event
from beholder.web.ports import ServedModel
from beholder.web.served_models import ServedModels

__all__ = ["CurrentModels"]

_log = logging.getLogger(__name__)

# How old the default may be; a request that finds it older reads it again.
_AGE_S_MAX = 1.0
# How long a request waits for a bucket that is slow, before it takes the default that was read last.
_SLOW_S_MAX = 1.0


class CurrentModels:
    """The models served, the current default first; used from one event loop.

    Where one model is served, nothing is read.

    Args:
        models: The models, the default of the settings first.
        results: The output bucket.
        clock: The time.
    """

    def __init__(self, models: ServedModels, results: Store, clock: Clock) -> None:
        self._settings = self._current = models
        self._results = results
        self._clock = clock
        self._asked_at_s = float("-inf")
        self._named: str | None = None
        self._reading = SharedReading(self._read)

    async def get(self) -> ServedModels:
        """Return the models as a request that comes now sees them."""
        is_fresh = 0 <= self._clock.now_s() - self._asked_at_s < _AGE_S_MAX
        if not is_fresh and len(self._settings.models) > 1:
            await self._reading.wait(_SLOW_S_MAX)
        return self._current

    async def switch(self, asked: str) -> ServedModels:
        """Make a model the default, for every web process within a second, and return the models.

        Args:
            asked: Its name, with its version or without.

        Raises:
            ModelNotFound: No model of this name is served.
            ModelVersionNotFound: The model is served in other versions.
            BackendError: The output bucket cannot be written.
        """
        chosen = (await self.get()).find(*split_reference(asked)).reference
        await asyncio.to_thread(write_default, self._results, chosen)
        log_event(_log, logging.INFO, "models.default", "another default was set", model=chosen)
        self._take(chosen)
        return self._current

    async def _read(self) -> None:
        now_s = self._clock.now_s()
        before = self._current
        try:
            named = await asyncio.to_thread(read_default, self._results)
        except BackendError as exc:
            log_event(_log, logging.WARNING, "models.default_unread", exc.message)
        else:
            # Otherwise a switch of this process came meanwhile, and what was read may be older.
            if self._current is before:
                self._take(named)
        finally:
            self._asked_at_s = now_s

    def _take(self, named: str | None) -> None:
        if named == self._named:
            return
        self._named = named
        models = self._settings.models
        first = next((one for one in models if one.reference == named), None)
        if first is None and named is not None:
            log_event(
                _log,
                logging.WARNING,
                "models.default_unserved",
                "the default of the settings counts",
                model=named,
            )
        self._current = replace(self._settings, models=_with_first(models, first or models[0]))


def _with_first(models: Sequence[ServedModel], first: ServedModel) -> tuple[ServedModel, ...]:
    return (first, *(one for one in models if one is not first))
