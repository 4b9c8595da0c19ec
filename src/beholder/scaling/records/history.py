"""Keeps what the dashboard draws of the last day: one small object in the output bucket.

It has a point for each minute in which something changed, and for one in five of the others, so that a gap
means that no controller led; and the last decisions that changed something. It is read before it is written,
so that what an earlier leader kept goes on. 1,440 points take 70 kB.

Cost: at most a GET and a PUT per minute, 43,200 a month, 0.23 dollars; on a quiet fleet a fifth of it.
Source: S3 pricing, us-east-1, 0.005 dollars per 1,000 PUT and 0.0004 per 1,000 GET requests, 2025.
"""

import json
import logging
from dataclasses import dataclass, fields
from typing import Annotated, Any, Self

from beholder.documents import Count, NotNegative, Time, from_document, to_document
from beholder.errors import BackendError, ObjectNotFound
from beholder.scaling.policy.decision import Bound
from beholder.scaling.records.record import Record
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["HISTORY_KEY", "FleetHistory", "HistoryLog", "HistoryPoints", "PastDecision", "read_history"]

_log = logging.getLogger(__name__)

HISTORY_KEY = "fleet/history.json"
_VERSION = 1
_MINUTE_S = 60
_DAY_S = 86_400
_QUIET_S = 300
_DECISIONS_MAX = 40


@dataclass(frozen=True, slots=True)
class HistoryPoints:
    """The points in columns of the same length, oldest first; a point holds until the next."""

    at_s: Annotated[tuple[Count, ...], "When each minute began, seconds since the Unix epoch."] = ()
    backlog: Annotated[tuple[Count, ...], "Most visible messages in that minute."] = ()
    in_flight: Annotated[tuple[Count, ...], "Most received messages in that minute."] = ()
    desired: Annotated[tuple[Count, ...], "Instances wanted."] = ()
    pending: Annotated[tuple[Count, ...], "Instances that were starting."] = ()
    in_service: Annotated[tuple[Count, ...], "Instances in service."] = ()
    draining: Annotated[tuple[Count, ...], "Instances that were draining."] = ()
    arrivals_per_s: Annotated[tuple[NotNegative, ...], "Messages per second, as learnt."] = ()
    price_per_hour: Annotated[tuple[NotNegative, ...], "What the instances cost per hour."] = ()

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the points, each as a row."""
        return list(zip(*(getattr(self, one.name) for one in fields(self)), strict=True))

    @classmethod
    def of(cls, rows: list[tuple[Any, ...]]) -> Self:
        """Return the points of these rows."""
        return cls(*zip(*rows, strict=True)) if rows else cls()


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A decision that changed something."""

    at_s: Annotated[Time, "When it was made."]
    desired: Annotated[Count, "Instances wanted, after every bound."]
    launched: Annotated[Count, "Instances that were launched."]
    reason: Annotated[str, "The reason in words."]
    bounds: Annotated[tuple[Bound, ...], "Each bound that changed the number, in order."]


@dataclass(frozen=True, slots=True)
class FleetHistory:
    """The fleet and its queue over the last 24 hours."""

    points: Annotated[HistoryPoints, "Fleet and queue by the minute."] = HistoryPoints()
    decisions: Annotated[
        tuple[PastDecision, ...], "The last decisions that changed something, newest first."
    ] = ()

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        return json.dumps({"version": _VERSION, **to_document(self)}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the stored form.

        Raises:
            ValueError: It is torn, or of another version.
        """
        document = json.loads(data)
        try:
            if document.pop("version") != _VERSION:
                raise ValueError("a history of another version cannot be read here")
            found = from_document(cls, document)
            found.points.rows()
        except (AttributeError, KeyError, TypeError) as exc:
            raise ValueError(f"this is no history: {exc}") from exc
        return found


class HistoryLog:
    """A `RecordSink` that keeps the `FleetHistory` that `read_history` returns.

    Args:
        store: The output bucket.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._row: tuple[Any, ...] | None = None
        self._written: tuple[Any, ...] | None = None
        self._decisions: list[PastDecision] = []
        self._desired: int | None = None

    def write(self, record: Record) -> None:
        """Keep a record; see `RecordSink.write`."""
        row = _row_of(record)
        if self._row is not None and self._row[0] != row[0]:
            self.flush()
        elif self._row is not None:
            row = (row[0], max(row[1], self._row[1]), max(row[2], self._row[2]), *row[3:])
        self._row = row
        decision = record.decision
        is_change = self._desired is not None and decision.desired != self._desired
        self._desired = decision.desired
        if is_change or record.launched or record.terminated or record.refused or record.failed_startups:
            launched = len(record.launched)
            self._decisions.insert(
                0, PastDecision(record.at_s, decision.desired, launched, decision.reason, decision.bounds)
            )
            del self._decisions[_DECISIONS_MAX:]

    def flush(self) -> None:
        """Write the minute that has ended; if the store fails, its point is lost and its decisions wait."""
        row, last = self._row, self._written
        if row is None:
            return
        is_quiet = last is not None and row[1:] == last[1:] and 0 <= row[0] - last[0] < _QUIET_S
        if is_quiet and not self._decisions:
            return
        try:
            before = read_history(self._store)
            rows = [one for one in before.points.rows() if row[0] - _DAY_S < one[0] < row[0]]
            decisions = (*self._decisions, *before.decisions)[:_DECISIONS_MAX]
            after = FleetHistory(HistoryPoints.of([*rows, row]), decisions)
            self._store.put(HISTORY_KEY, after.to_bytes())
        except BackendError as exc:
            log_event(_log, logging.WARNING, "history.unwritten", exc.message)
            return
        self._written = row
        self._decisions.clear()


def _row_of(record: Record) -> tuple[Any, ...]:
    return (
        int(record.at_s // _MINUTE_S) * _MINUTE_S,
        record.backlog,
        record.in_flight,
        record.decision.desired,
        *(record.states.get(state, 0) for state in ("pending", "in_service", "draining")),
        round(record.decision.forecast.arrivals_per_s, 2),
        round(sum(one.price_per_hour for one in record.instances), 4),
    )


def read_history(store: Store) -> FleetHistory:
    """Return the history; an empty one if there is none, or if it cannot be read.

    Raises:
        BackendError: The store cannot be asked.
    """
    try:
        return FleetHistory.from_bytes(store.get(HISTORY_KEY))
    except ObjectNotFound:
        return FleetHistory()
    except ValueError as exc:
        log_event(_log, logging.WARNING, "history.unreadable", str(exc))
        return FleetHistory()
