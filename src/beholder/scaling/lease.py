"""One leader among several controllers, by objects in the store: put-if-absent is all it needs.

Each term is an object of its own, `fleet/lease/<term>`; the controller that creates it holds it. The holder
renews by creating the next term. A follower looks for the next term; when none came for a while, counted by
its own clock from when it saw the last, it creates that term itself. If two
controllers try, one put succeeds.

No controller compares two clocks. The holder counts its term from before its put, a follower from after it
saw the term, each on a clock of its own that no step moves. So the holder stops acting before a follower may
begin, if clocks run at the same speed within a few percent, and if a call that the holder began takes no
longer than the half period that lies between:

    holder   put ──── may begin to act for 1.75 periods ────┤
    follower      saw ──────── waits for 2.25 periods ────────────┤ put, look again, lead

Cost with a period of 15 s: the holder's 172,800 PUTs are 0.86 dollars a month; a follower's HEADs, four in a
period, 0.28. Source: S3 pricing, us-east-1, 2025.
"""

import logging

from beholder.clock import Clock
from beholder.errors import ObjectExists, ObjectNotFound
from beholder.store.port import Store
from beholder.telemetry.log import log_event

__all__ = ["LEASE_PREFIX", "StoreLease"]

_log = logging.getLogger(__name__)

LEASE_PREFIX = "fleet/lease/"
_ACT_PERIODS = 1.75
_WAIT_PERIODS = 2.25
_TERMS_KEPT = 16  # so that a put delayed for long meets the term that another holder created


class StoreLease:
    """A lease; the controller calls `hold` at least four times in a period.

    Args:
        store: Where the terms lie; all controllers of a deployment share it.
        holder: Name of this controller, never used before; written into its terms.
        clock: For durations; must not be moved.
        period_s: How often the holder renews.
    """

    def __init__(self, store: Store, holder: str, clock: Clock, *, period_s: float = 15.0) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._period_s = period_s
        self._newest: int | None = None
        self._is_free = False
        self._seen_at_s = 0.0
        self._held_since_s: float | None = None
        self._tried: tuple[int, float] | None = None

    @property
    def poll_s(self) -> float:
        """Return the longest time between two calls of `hold`."""
        return self._period_s / 4

    def is_held(self) -> bool:
        """Say whether this controller may begin to act; makes no call."""
        since_s = self._held_since_s
        return since_s is not None and self._clock.now_s() - since_s < _ACT_PERIODS * self._period_s

    def hold(self) -> bool:
        """Renew the lease, or take it over if the holder is gone; returns whether this controller leads.

        Raises:
            BackendError: The store cannot be asked; what is held stays held until its time is over.
        """
        if self._held_since_s is not None and not self.is_held():
            self._step_down("its time is over")
        if self._held_since_s is None:
            self._follow()
        elif self._clock.now_s() - self._held_since_s >= self._period_s:
            self._renew()
        return self.is_held()

    def release(self) -> None:
        """Let another controller lead at once; for an orderly end."""
        if self.is_held() and self._newest is not None:
            self._held_since_s = None
            self._create(self._newest + 1, b"")

    def _renew(self) -> None:
        newest = self._known()
        if self._tried is None or self._tried[0] != newest + 1:
            self._tried = newest + 1, self._clock.now_s()
        # Where the answer to an earlier try was lost, the term counts from that try.
        began_s = self._tried[1]
        if not self._create(newest + 1, self._holder.encode()) and not self._is_mine(newest + 1):
            self._step_down("another controller took over")
            return
        self._newest, self._held_since_s = newest + 1, began_s
        if newest + 1 > _TERMS_KEPT:
            self._store.delete(_key(newest + 1 - _TERMS_KEPT))

    def _follow(self) -> None:
        if self._newest is None:
            self._look()
        else:
            self._walk()
        waited_s = self._clock.now_s() - self._seen_at_s
        if self._newest and not self._is_free and waited_s < _WAIT_PERIODS * self._period_s:
            return
        before = self._newest
        # A follower that slept may know an old term whose successors were deleted: only a list is sure.
        self._look()
        if self._newest != before:
            return
        self._take_over()

    def _take_over(self) -> None:
        term = self._known() + 1
        began_s = self._clock.now_s()
        if not self._create(term, self._holder.encode()):
            self._look()
            return
        # If this put was delayed for long, there are later terms by now; then this one means nothing.
        self._look()
        if self._newest != term:
            return
        self._held_since_s = began_s
        log_event(_log, logging.INFO, "lease.taken", "leads the fleet from now on", term=term)
        for info in list(self._store.list(LEASE_PREFIX)):
            if info.key < _key(max(0, term - _TERMS_KEPT)):
                self._store.delete(info.key)

    def _look(self) -> None:
        """Find the newest term by a list; if it is new to this controller, its wait begins anew."""
        newest, is_free = 0, True
        for info in self._store.list(LEASE_PREFIX):
            newest, is_free = int(info.key.removeprefix(LEASE_PREFIX)), info.size_bytes == 0
        self._learn(newest, is_free=is_free)

    def _walk(self) -> None:
        """Find the newest term by asking for the next ones, which costs less than a list."""
        try:
            while True:
                info = self._store.head(_key(self._known() + 1))
                self._learn(self._known() + 1, is_free=info.size_bytes == 0)
        except ObjectNotFound:
            return

    def _learn(self, newest: int, *, is_free: bool) -> None:
        if newest != self._newest:
            self._newest, self._is_free, self._seen_at_s = newest, is_free, self._clock.now_s()

    def _create(self, term: int, body: bytes) -> bool:
        try:
            self._store.put(_key(term), body, only_if_absent=True)
        except ObjectExists:
            return False
        return True

    def _is_mine(self, term: int) -> bool:
        try:
            return self._store.get(_key(term)) == self._holder.encode()
        except ObjectNotFound:
            return False

    def _known(self) -> int:
        return self._newest or 0

    def _step_down(self, why: str) -> None:
        log_event(_log, logging.WARNING, "lease.lost", why, term=self._newest)
        self._held_since_s = None
        self._newest = None


def _key(term: int) -> str:
    return f"{LEASE_PREFIX}{term:012d}"
