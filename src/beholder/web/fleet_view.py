"""The last record of the fleet in the output bucket, for `GET /v1/fleet` and for the metrics.

The leading controller writes it there (`beholder.scaling.records.snapshot`), so every web process gives the
same answer.
"""

import threading
from collections.abc import Callable, Mapping

from beholder.clock import Clock
from beholder.documents import to_document
from beholder.errors import BackendError
from beholder.scaling.policy.decision import FAILED_STARTUP_CAUSES
from beholder.scaling.records.snapshot import FleetSnapshot, read_last
from beholder.store.port import Store
from beholder.telemetry.metrics import Telemetry
from beholder.web.fleet_document import instances_by_state, price_per_hour

__all__ = ["FleetView", "watch_fleet"]

_Series = Mapping[str, float]


class FleetView:
    """The last record of the fleet; safe to use from many threads at once.

    Cost: at most one GET per `keep_s`; a scrape every 15 s makes 172,800 requests a month, 0.07 dollars.
    Source: S3 pricing, us-east-1, 0.0004 dollars per 1,000 GET requests, 2025.

    Args:
        store: The output bucket.
        clock: The time of day.
        keep_s: How long an answer of the store, or its failure, is kept.
    """

    def __init__(self, store: Store, clock: Clock, *, keep_s: float = 2.0) -> None:
        self._store = store
        self._clock = clock
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._asked_at_s: float | None = None
        self._found: FleetSnapshot | BackendError | None = None

    def now_s(self) -> float:
        """Return the time of day, seconds since the Unix epoch."""
        return self._clock.now_s()

    def read(self) -> FleetSnapshot | None:
        """Return the last record; None if no controller ever led.

        Raises:
            BackendError: The store does not answer.
        """
        with self._lock:
            now_s = self._clock.now_s()
            if self._asked_at_s is None or not 0 <= now_s - self._asked_at_s < self._keep_s:
                try:
                    self._found = read_last(self._store)
                except BackendError as exc:
                    self._found = exc
                # Counted from the answer, so that threads that waited for a slow store do not ask it again.
                self._asked_at_s = self._clock.now_s()
            found = self._found
        if isinstance(found, BackendError):
            raise found.with_traceback(None)
        return found


def watch_fleet(telemetry: Telemetry, view: FleetView) -> None:
    """Register the fleet's metrics; a record that is missing or cannot be read gives no series."""

    def watch(name: str, help_text: str, read: Callable[[FleetSnapshot], _Series], label: str = "") -> None:
        def series() -> _Series:
            try:
                last = view.read()
            except BackendError:
                return {}
            return {} if last is None else read(last)

        telemetry.watch(name, help_text, series, label)

    for name, help_text, read, label in _METRICS:
        watch(name, help_text, read, label)
    watch(
        "beholder_controller_decision_age_seconds",
        "Since the last record of the controller.",
        lambda last: {"": last.age_s(view.now_s())},
    )


_METRICS: tuple[tuple[str, str, Callable[[FleetSnapshot], _Series], str], ...] = (
    (
        "beholder_fleet_instances",
        "Instances by state.",
        lambda last: to_document(instances_by_state(last)),
        "state",
    ),
    (
        "beholder_fleet_instances_busy",
        "Instances in service that hold a message.",
        lambda last: {"": last.record.busy},
        "",
    ),
    (
        "beholder_fleet_desired",
        "Instances that the controller wants.",
        lambda last: {"": last.record.decision.desired},
        "",
    ),
    (
        "beholder_fleet_price_per_hour",
        "What the instances cost per hour, as far as that is known.",
        lambda last: {"": price_per_hour(last)},
        "",
    ),
    (
        "beholder_fleet_arrivals_per_second",
        "Messages per second that the controller expects.",
        lambda last: {"": last.record.decision.forecast.arrivals_per_s},
        "",
    ),
    (
        "beholder_controller_launches_total",
        "Instances launched, by any leader.",
        lambda last: {"": last.launched_total},
        "",
    ),
    (
        "beholder_controller_terminations_total",
        "Instances that were terminated, or ended unexpectedly, by any leader.",
        lambda last: last.terminated_total,
        "cause",
    ),
    (
        "beholder_controller_failed_startups_total",
        "Instances that were launched and never served, by any leader.",
        # From the first record on, because Prometheus sees no growth where a series begins.
        lambda last: dict.fromkeys(FAILED_STARTUP_CAUSES, 0) | dict(last.failed_startups_total),
        "cause",
    ),
)
"""Name, help text, the values of a record, and the label."""
