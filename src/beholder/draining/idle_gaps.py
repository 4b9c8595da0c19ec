"""Idle gaps, the times without a message: what the last worker learns of them, to know how long to stay.

A fixed stay is a guess. If messages come an hour apart, every second of it is wasted; if they come a minute
apart, leaving costs a startup each time. While a worker stays, it observes the gaps itself. After it has
left, its successor does: it reads from the store when the last worker fell idle, and knows from its own first
message when that gap ended.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from beholder.clock import age_s
from beholder.errors import ObjectNotFound
from beholder.store.port import Store

__all__ = ["IDLE_GAPS_KEY", "IdleGaps", "read_idle_gaps", "write_idle_gaps"]

IDLE_GAPS_KEY = "fleet/idle_gaps.json"
_VERSION = 1
_KEPT = 24
_LEARNT_MIN = 3
# A shorter gap teaches nothing: no worker leaves so soon.
_GAP_S_MIN = 5.0
# A gap that lies this many gaps back counts half.
_HALF_LIFE = 8.0
# Before anything is known, gaps of all these lengths are equally likely, in startup costs; together they
# count as two observed gaps.
_GUESSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_GUESS_WEIGHT = 2.0
# The longest stay, in startup costs.
_STAY_STARTUPS_MAX = 3.0


@dataclass(frozen=True, slots=True)
class IdleGaps:
    """The last idle gaps, and when the fleet last fell idle.

    Args:
        samples_s: The lengths of the gaps, newest last.
        idle_since_s: When the last worker that left had its last message, seconds since the Unix epoch; None
            if no worker left, or its successor has had a message since.
    """

    samples_s: tuple[float, ...] = ()
    idle_since_s: float | None = None

    def after_rest(self, rest_s: float, workers: int) -> Self:
        """Return what is known to a worker that has a message again.

        Args:
            rest_s: How long it had no message.
            workers: How many workers serve, itself included; with several, it does not know whether the
                others had work.
        """
        return self._seen(rest_s) if workers == 1 and rest_s >= _GAP_S_MIN else self

    def after_first(self, sent_at_s: float) -> Self:
        """Return what is known to a worker that has its first message; `idle_since_s` is used up by it.

        Args:
            sent_at_s: When the message was sent, seconds since the Unix epoch.
        """
        if self.idle_since_s is None:
            return self
        known = self._seen(age_s(sent_at_s, self.idle_since_s))
        return type(self)(known.samples_s, None)

    def left(self, idle_since_s: float) -> Self:
        """Return what a worker that leaves stores."""
        return type(self)(self.samples_s, idle_since_s)

    def stay_s(self, startup_cost_s: float) -> float | None:
        """Return the stay at which idling and startups cost least; None until a few gaps are known.

        Args:
            startup_cost_s: What a startup costs, in seconds of an instance.
        """
        return _stay_s(self.samples_s, startup_cost_s) if len(self.samples_s) >= _LEARNT_MIN else None

    def _seen(self, idle_gap_s: float) -> Self:
        return type(self)((*self.samples_s, idle_gap_s)[-_KEPT:], self.idle_since_s)

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        samples = [round(sample_s, 1) for sample_s in self.samples_s]
        document = {"version": _VERSION, "samples_s": samples, "idle_since_s": self.idle_since_s}
        return json.dumps(document).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the stored form.

        Raises:
            ValueError: It is torn, or of another version.
        """
        try:
            document = json.loads(data)
            if document["version"] != _VERSION:
                raise ValueError(f"idle gaps of version {document['version']} cannot be read here")
            since_s = document["idle_since_s"]
            samples = tuple(float(sample) for sample in document["samples_s"])
            return cls(samples[-_KEPT:], None if since_s is None else float(since_s))
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not idle gaps: {exc}") from exc


# A worker asks whenever it falls idle, and a new gap is rare.
@lru_cache(maxsize=8)
def _stay_s(samples_s: tuple[float, ...], startup_cost_s: float) -> float:
    """Return the stay with the least cost; each gap costs itself, or the stay and a startup."""
    count = len(samples_s)
    gaps = [(gap_s, 0.5 ** ((count - 1 - place) / _HALF_LIFE)) for place, gap_s in enumerate(samples_s)]
    gaps += [(startup_cost_s * guess, _GUESS_WEIGHT / len(_GUESSES)) for guess in _GUESSES]
    longer = sum(weight for _, weight in gaps)
    sat_through_s, best_s, least_s = 0.0, 0.0, startup_cost_s * longer
    # The minimum lies right after one of the gaps, or at no stay at all.
    for gap_s, weight in sorted(gaps):
        if gap_s >= _STAY_STARTUPS_MAX * startup_cost_s:
            break
        longer -= weight
        sat_through_s += weight * gap_s
        cost_s = sat_through_s + longer * (gap_s + startup_cost_s)
        if cost_s < least_s:
            best_s, least_s = gap_s, cost_s
    return best_s


def read_idle_gaps(store: Store) -> IdleGaps:
    """Return what the last worker that left stored; empty if that is missing or unreadable.

    Raises:
        BackendError: The store cannot be read.
    """
    try:
        return IdleGaps.from_bytes(store.get(IDLE_GAPS_KEY))
    except (ObjectNotFound, ValueError):
        return IdleGaps()


def write_idle_gaps(store: Store, idle_gaps: IdleGaps) -> None:
    """Store the gaps for the successor; the last write counts.

    Raises:
        BackendError: The store cannot be written.
    """
    store.put(IDLE_GAPS_KEY, idle_gaps.to_bytes())
