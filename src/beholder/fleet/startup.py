"""How long the steps of an instance's startup take, by the stamps of its user data and of the worker."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from beholder.clock import Clock
from beholder.telemetry.log import log_event

__all__ = ["STARTUPS_PREFIX", "StartupReport"]

_log = logging.getLogger(__name__)

STARTUPS_PREFIX = "fleet/startups/"
# Between two passes once the report is stored, when nothing is left to do.
_DONE_S = 3600.0


class StartupReport:
    """Reports one startup, once: as a log line, and as an object beside the heartbeats.

    It is made when the models are warm, and its first tick comes right before the first receive.

    Args:
        stamps: A file of lines: a step, and when it was done, in seconds since the Unix epoch.
        instance_id: The instance.
        put: Stores an object.
        clock: The time of this machine, as the stamps have it.
    """

    def __init__(
        self, stamps: Path, instance_id: str, put: Callable[[str, bytes], object], clock: Clock
    ) -> None:
        self._stamps = stamps
        self._key = f"{STARTUPS_PREFIX}{instance_id}.json"
        self._put = put
        self._clock = clock
        self._warm_at_s = clock.now_s()
        self._report: dict[str, float] = {}
        self._is_stored = False

    def tick(self) -> float:
        """Report once; return the seconds until the next pass.

        Raises:
            BackendError: The object cannot be stored; the next pass tries again.
        """
        if not self._report:
            self._report = self._read({"warm": self._warm_at_s, "receiving": self._clock.now_s()})
            log_event(_log, logging.INFO, "worker.startup", "seconds since the launch", **self._report)
        if not self._is_stored:
            self._put(self._key, json.dumps(self._report).encode())
            self._is_stored = True
        return _DONE_S

    def _read(self, times: dict[str, float]) -> dict[str, float]:
        """Return when each step was done, in seconds since the first step, which is the launch on EC2."""
        for line in self._stamps.read_text().splitlines():
            step, _, at_s = line.partition(" ")
            times[step] = float(at_s)
        first_s = times.get("launched", min(times.values()))
        # A container's kernel is older than its launch.
        since = {step: round(at_s - first_s, 3) for step, at_s in times.items() if at_s >= first_s}
        return dict(sorted(since.items(), key=lambda item: item[1]))
