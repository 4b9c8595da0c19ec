"""Keeps the decision log: the record of each tick that changed something, in the output bucket, for weeks.

Records are gathered and written as JSON lines, `why/<date>/<time>-<leader>.jsonl`, so that a tick costs no
request. A tick that says the same as the last is left out, except that one in each gathering stays, so that a
gap in the log means that no controller led.

Cost: one PUT per five minutes, 8,640 a month, 0.04 dollars. Source: S3 pricing, us-east-1, 2025.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

from beholder.errors import BackendError
from beholder.scaling.records.record import Record
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["WHY_PREFIX", "DecisionLog", "gist_of", "read_records"]

_log = logging.getLogger(__name__)

WHY_PREFIX = "why/"
_DAY_S = 86_400.0
_WAITING_MAX = 5_000
_RECENT_MAX = 720


class DecisionLog:
    """A `RecordSink` that writes to a store.

    Args:
        store: The output bucket.
        leader: Name of the controller; part of each key, so that no two write the same.
        gather_s: How much time one object covers; a crash loses as much at most.
        keep_days: How long objects are kept.
    """

    def __init__(
        self, store: Store, leader: str, *, gather_s: float = 300.0, keep_days: float = 14.0
    ) -> None:
        self._store = store
        self._leader = leader
        self._gather_s = gather_s
        self._keep_days = keep_days
        self._waiting: deque[Record] = deque(maxlen=_WAITING_MAX)
        self._recent: deque[Record] = deque(maxlen=_RECENT_MAX)
        self._lock = threading.Lock()
        self._begun_at_s: float | None = None
        self._last: Record | None = None
        self._swept_on = ""

    def recent(self) -> tuple[Record, ...]:
        """Return the last records of this process, unchanged ones included, oldest first."""
        with self._lock:
            return tuple(self._recent)

    def write(self, record: Record) -> None:
        """Keep a record; see `RecordSink.write`."""
        record = record.without_instances()
        with self._lock:
            self._recent.append(record)
        if self._begun_at_s is None:
            self._begun_at_s = record.at_s
        is_news = self._last is None or gist_of(record) != gist_of(self._last)
        if is_news or not self._waiting:
            self._waiting.append(record)
        self._last = record
        if not 0 <= record.at_s - self._begun_at_s < self._gather_s:
            self.flush()

    def flush(self) -> None:
        """Write the gathered records; if the store fails, they stay for the next time."""
        if not self._waiting:
            return
        batch = list(self._waiting)
        at = datetime.fromtimestamp(batch[0].at_s, UTC)
        key = f"{WHY_PREFIX}{at:%Y-%m-%d}/{at:%H%M%S%f}-{self._leader}.jsonl"
        lines = "".join(json.dumps(one.to_dict(), separators=(",", ":")) + "\n" for one in batch)
        self._begun_at_s = None
        try:
            self._store.put(key, lines.encode())
            self._waiting.clear()
            self._sweep(batch[-1].at_s)
        except BackendError as exc:
            log_event(_log, logging.WARNING, "decision_log.unwritten", exc.message, records=len(batch))

    def _sweep(self, now_s: float) -> None:
        """Delete objects older than `keep_days`, once a day."""
        today = f"{datetime.fromtimestamp(now_s, UTC):%Y-%m-%d}"
        if today == self._swept_on:
            return
        oldest = f"{datetime.fromtimestamp(now_s - self._keep_days * _DAY_S, UTC):%Y-%m-%d}"
        for info in list(self._store.list(WHY_PREFIX)):
            if info.key.removeprefix(WHY_PREFIX)[: len(oldest)] < oldest:
                self._store.delete(info.key)
        self._swept_on = today


def read_records(store: Store, from_s: float, until_s: float) -> Iterator[Record]:
    """Yield the records of a time, in order of their objects; lines that are no records are skipped.

    Args:
        store: The output bucket.
        from_s: Seconds since the Unix epoch; the object that covers this moment is read too.
        until_s: Likewise; included.
    """
    day_s = from_s - from_s % _DAY_S
    while day_s <= until_s:
        prefix = f"{WHY_PREFIX}{datetime.fromtimestamp(day_s, UTC):%Y-%m-%d}/"
        for info in list(store.list(prefix)):
            # An object is put after its last record, and begins with its first.
            if info.stored_at_s < from_s - _SKEW_S or _begins_s(info.key) > until_s:
                continue
            yield from _records_of(store.get(info.key), from_s, until_s)
        day_s += _DAY_S


_SKEW_S = 60.0


def _begins_s(key: str) -> float:
    date, name = key.removeprefix(WHY_PREFIX).split("/", 1)
    return datetime.strptime(f"{date} {name[:6]} +0000", "%Y-%m-%d %H%M%S %z").timestamp()


def _records_of(data: bytes, from_s: float, until_s: float) -> Iterator[Record]:
    for line in data.decode(errors="replace").splitlines():
        try:
            record = Record.from_dict(json.loads(line))
        except ValueError:
            continue
        if from_s <= record.at_s <= until_s:
            yield record


def gist_of(record: Record) -> tuple[object, ...]:
    """Return the parts of a record whose change is logged: the fleet and the decision, not every message."""
    decision = record.decision
    return (
        sorted(record.states.items()),
        record.busy,
        decision.desired,
        decision.raw,
        decision.launch,
        tuple(one.name for one in decision.bounds),
        record.launched,
        record.refused,
        record.terminated,
        record.failed_startups,
    )
