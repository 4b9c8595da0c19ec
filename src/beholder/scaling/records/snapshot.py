"""Keeps the last record with every instance as one object in the output bucket, for `GET /v1/fleet`.

Any process can then describe the fleet with one GET. The object is written at once when a
record says something new, and otherwise so often that a reader can tell a quiet fleet from a controller that
is gone. It is read before it is written, so that what earlier leaders counted goes on.

Cost: on a quiet fleet one PUT per 60 s, 43,200 a month, 0.22 dollars. One that changes at every tick of 5 s
costs 518,400, 2.59 dollars; the GETs are a twelfth of that. Source: S3 pricing, us-east-1, 0.005 dollars per
1,000 PUT and 0.0004 per 1,000 GET requests, 2025.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from beholder.clock import age_s
from beholder.documents import from_document, members_of, to_document
from beholder.errors import BackendError, ObjectNotFound
from beholder.scaling.policy.decision import FailedStartup, Termination
from beholder.scaling.ports import RecordSink
from beholder.scaling.records.decision_log import gist_of
from beholder.scaling.records.record import RECORD_VERSION, Record
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = [
    "SNAPSHOT_KEY",
    "FleetSnapshot",
    "LatestRecord",
    "PastFailedStartup",
    "PastRefusal",
    "PastTermination",
    "Tee",
    "read_last",
]

_log = logging.getLogger(__name__)

SNAPSHOT_KEY = "fleet/snapshot.json"
_VERSION = 1
_STALE_PERIODS = 3
_PAST_MAX = 10
# Written more often while instances start: a leader that takes over learns from it how old they are.
_AWAITED_PART = 0.25


@dataclass(frozen=True, slots=True)
class PastTermination:
    """An instance that the reaper ended some time ago.

    Args:
        at_s: When, seconds since the Unix epoch.
        termination: The instance, and why.
    """

    at_s: float
    termination: Termination


@dataclass(frozen=True, slots=True)
class PastRefusal:
    """A launch that the cloud refused some time ago.

    Args:
        at_s: When it last refused, seconds since the Unix epoch.
        why: The reason that it gave.
    """

    at_s: float
    why: str


@dataclass(frozen=True, slots=True)
class PastFailedStartup:
    """An instance that was launched some time ago and never served.

    Args:
        at_s: When that was found, seconds since the Unix epoch.
        startup: The instance, and how it failed.
    """

    at_s: float
    startup: FailedStartup


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The fleet by the last record of its controller.

    Args:
        record: The record, with its instances.
        every_s: The next one is written after this time at the latest.
        terminations: The last terminations, newest first.
        refusals: The last refusals, newest first; the same reason in a row counts once.
        launched_total: All launches since this object exists, by any leader.
        terminated_total: All instances that the reaper terminated or that ended unexpectedly, by cause.
        failed_startups: Instances that did not come up, the last ones, newest first.
        failed_startups_total: All of them, by cause.
    """

    record: Record
    every_s: float
    terminations: tuple[PastTermination, ...] = ()
    refusals: tuple[PastRefusal, ...] = ()
    launched_total: int = 0
    terminated_total: Mapping[str, int] = field(default_factory=dict)
    failed_startups: tuple[PastFailedStartup, ...] = ()
    failed_startups_total: Mapping[str, int] = field(default_factory=dict)

    def age_s(self, now_s: float) -> float:
        """Return the age of the record in seconds."""
        return age_s(now_s, self.record.at_s)

    def is_stale(self, now_s: float) -> bool:
        """Say whether the next record is so late that no controller can be leading."""
        return self.age_s(now_s) > _STALE_PERIODS * self.every_s

    def followed_by(self, record: Record, every_s: float) -> Self:
        """Return the snapshot after `record`."""
        refusals = self.refusals
        if record.refused:
            again = bool(refusals) and refusals[0].why == record.refused
            refusals = (PastRefusal(record.at_s, record.refused), *(refusals[1:] if again else refusals))
        failed = tuple(PastFailedStartup(record.at_s, one) for one in reversed(record.failed_startups))
        ended = tuple(PastTermination(record.at_s, one) for one in reversed(record.terminated))
        return type(self)(
            record,
            every_s,
            (*ended, *self.terminations)[:_PAST_MAX],
            refusals[:_PAST_MAX],
            self.launched_total + len(record.launched),
            Counter(self.terminated_total) + Counter(one.cause for one in record.terminated),
            (*failed, *self.failed_startups)[:_PAST_MAX],
            Counter(self.failed_startups_total) + Counter(one.startup.cause for one in failed),
        )

    def to_bytes(self) -> bytes:
        """Return the stored form; the instances stand beside the record, which is as in the decision log."""
        document = {"version": _VERSION, **to_document(self)}
        document["instances"] = document["record"].pop("instances")
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the stored form.

        Raises:
            ValueError: It is torn, or of another version.
        """
        document = json.loads(data)
        try:
            versions = (document["version"], document["record"]["version"])
            if versions != (_VERSION, RECORD_VERSION):
                raise ValueError(f"a fleet of versions {versions} cannot be read here")
            document["record"]["instances"] = document["instances"]
            return from_document(cls, {name: document[name] for name in _MEMBERS if name in document})
        except (KeyError, TypeError) as exc:
            raise ValueError(f"this is no fleet: {exc}") from exc


_MEMBERS = tuple(one.name for one in members_of(FleetSnapshot))


class LatestRecord:
    """A `RecordSink` that keeps the `FleetSnapshot` that `read_last` returns.

    Args:
        store: The output bucket.
        every_s: The object is written after this time though nothing changed; at least a tick.
    """

    def __init__(self, store: Store, *, every_s: float = 60.0) -> None:
        self._store = store
        self._every_s = every_s
        self._news: object = None
        self._written_at_s = 0.0

    def write(self, record: Record) -> None:
        """Keep a record; see `RecordSink.write`. A record that the store cannot take is not counted later."""
        states = sorted((one.id, one.state.value, one.is_busy) for one in record.instances)
        news = (gist_of(record), record.failures, states)
        # A time of day that went back is written too.
        every_s = self._every_s * (_AWAITED_PART if record.awaited_s else 1.0)
        if news == self._news and 0 <= record.at_s - self._written_at_s < every_s:
            return
        try:
            before = read_last(self._store) or FleetSnapshot(record, self._every_s)
            self._store.put(SNAPSHOT_KEY, before.followed_by(record, self._every_s).to_bytes())
            self._news, self._written_at_s = news, record.at_s
        except BackendError as exc:
            self._news = None
            log_event(_log, logging.WARNING, "snapshot.unwritten", exc.message)


class Tee:
    """A `RecordSink` that hands each record to several.

    Args:
        sinks: In this order.
    """

    def __init__(self, *sinks: RecordSink) -> None:
        self._sinks = sinks

    def write(self, record: Record) -> None:
        """Keep a record; see `RecordSink.write`."""
        for sink in self._sinks:
            sink.write(record)


def read_last(store: Store) -> FleetSnapshot | None:
    """Return the snapshot of the last leader; None if there was none, or if a later version wrote it.

    Raises:
        BackendError: The store cannot be asked.
    """
    try:
        return FleetSnapshot.from_bytes(store.get(SNAPSHOT_KEY))
    except ObjectNotFound:
        return None
    except ValueError as exc:
        log_event(_log, logging.WARNING, "snapshot.unreadable", str(exc))
        return None
