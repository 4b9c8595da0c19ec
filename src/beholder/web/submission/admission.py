"""Backpressure: beyond `backlog_max` the service refuses jobs at once instead of queueing without end."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beholder.clock import Clock
from beholder.errors import Overloaded
from beholder.queue.port import Depth, Queue

__all__ = ["Admission"]

_RETRY_MAX_S = 600
# The rate is averaged over this time, since workers take whole batches and one reading shows all or none.
_MEMORY_S = 10.0
# The assumed time of a job until the first job is finished.
_JOB_S = 0.1
# Between two readings while the queue is empty, and nothing is sent here.
_REST_S = 2.0
_READINGS_MAX = 3
# Of four jobs that are received while both kinds wait, one is asynchronous; see `queue/round_robin.py`.
_ASYNCHRONOUS_PER_INTERACTIVE = 1 / 3


class Admission:
    """Decides whether one more job is accepted, and estimates how long a job takes.

    The queue's depth is read every `every_s`, and less often until the next job while there is none. The jobs
    sent since the last reading are added, and so are those that are admitted and not yet sent. So the bound
    also holds between two readings and in a rush.

    The rate of jobs is that of the outcomes that arrived at this process while there was a backlog, since a
    time without work does not show how fast the workers are.

    Args:
        queue: The input queue.
        clock: The time.
        backlog_max: Waiting jobs beyond which new jobs are refused.
        asynchronous_share: The share of `backlog_max` beyond which asynchronous jobs are refused.
        startup_s: How long the first job waits for a worker if none is running.
        every_s: How often the depth is read.

    Attributes:
        notifier: Set when a job is admitted after a rest, so that the readings go on.
    """

    def __init__(
        self,
        queue: Queue,
        clock: Clock,
        *,
        backlog_max: int,
        asynchronous_share: float = 0.75,
        startup_s: float = 1.0,
        every_s: float = 0.25,
    ) -> None:
        self._queue = queue
        self._clock = clock
        # These three are by whether the job is interactive.
        self._backlog_max = {True: backlog_max, False: math.ceil(backlog_max * asynchronous_share)}
        self._entering = {True: 0, False: 0}
        self._sent_since = {True: 0, False: 0}
        self._startup_s = startup_s
        self._every_s = every_s
        self._lock = threading.Lock()
        self._depth = Depth(0, 0, 0, interactive=0)
        self._done = 0
        self._done_before = 0
        self._is_asleep = True
        self._is_resting = False
        self._is_woken = False
        self.notifier = threading.Event()
        self._rate = _Mean(_MEMORY_S)
        self._read_at_s: float | None = None
        # Of the last `backlog_max` jobs, how many jobs will have been done before each.
        self._places: dict[str, float] = {}

    @contextmanager
    def admit(self, job_id: str, wait_s: float) -> Iterator[bool]:
        """Admit one more job; the block sends it, and has sent nothing if it fails.

        A job is interactive if its caller waits longer than the interactive jobs before it take. A caller
        that waits less is answered 202 in any case, and many such jobs would keep out callers that wait long
        enough. If the queue has no classes, every job whose caller waits is interactive.

        Args:
            job_id: The job.
            wait_s: How long its caller waits; 0 if it does not wait.

        Yields:
            Whether the job is interactive; asynchronous jobs are refused earlier.

        Raises:
            Overloaded: The backlog is full; the error says after how many seconds it may have drained.
        """
        with self._lock:
            is_interactive = self._is_interactive(wait_s)
            self._check_room(is_interactive=is_interactive)
            self._entering[is_interactive] += 1
            was_resting, self._is_resting = self._is_resting, False
            self._is_woken = self._is_woken or was_resting
        if was_resting:
            self.notifier.set()
        is_sent = False
        try:
            yield is_interactive
            is_sent = True
        finally:
            with self._lock:
                self._entering[is_interactive] -= 1
                if is_sent:
                    self._keep_place(job_id, is_interactive=is_interactive)
                    self._sent_since[is_interactive] += 1

    def done(self, count: int) -> None:
        """Count jobs whose outcome arrived."""
        with self._lock:
            self._done += count
            self._is_asleep = False

    def retry_after_s(self, job_id: str) -> int:
        """Return the seconds until a job may have its outcome; 1 for a job that another process accepted."""
        with self._lock:
            ahead = min(self._places.get(job_id, 0.0) - self._done, self._backlog() + self._depth.in_flight)
            return self._seconds_for(max(0.0, ahead))

    def place(self, job_id: str) -> tuple[int | None, int]:
        """Return how many jobs are before a job, None if another process accepted it; and how many wait."""
        with self._lock:
            everything = self._backlog() + self._depth.in_flight
            if job_id not in self._places:
                return None, everything
            return max(0, min(math.ceil(self._places[job_id] - self._done), everything)), everything

    @property
    def jobs_per_s(self) -> float:
        """The measured rate of the workers."""
        with self._lock:
            return self._jobs_per_s()

    @property
    def startup_s(self) -> float:
        """How long the first job waits for a worker if none is running."""
        return self._startup_s

    def seconds_for(self, count: float) -> int:
        """Return the seconds in which the workers may finish so many jobs, as a Retry-After."""
        with self._lock:
            return self._seconds_for(count)

    def tick(self) -> float:
        """Read the queue's depth; return the seconds until the next reading."""
        with self._lock:
            is_woken, self._is_woken = self._is_woken, False
        if is_woken:  # amid jobs that are being sent, of which a reading may count some twice
            return self._every_s
        depth, sent = self._read()
        now_s = self._clock.now_s()
        with self._lock:
            seconds = 0.0 if self._read_at_s is None else now_s - self._read_at_s
            if seconds > 0 and self._depth.backlog and depth.backlog:
                self._rate.add((self._done - self._done_before) / seconds, seconds)
            self._depth = depth
            is_idle = not (depth.backlog or depth.in_flight or depth.delayed)
            is_idle = is_idle and self._done == self._done_before
            self._is_asleep = not depth.in_flight and self._done == self._done_before
            for is_interactive, count in sent.items():
                self._sent_since[is_interactive] -= count
            self._done_before = self._done
            self._read_at_s = now_s
            is_left = any(self._entering.values()) or any(self._sent_since.values())
            self._is_resting = is_idle and not is_left
        return max(self._every_s, _REST_S) if self._is_resting else self._every_s

    def _read(self) -> tuple[Depth, dict[bool, int]]:
        """Return the depth, and how many of the jobs sent since the last reading it contains for certain.

        Of a job that is sent during a reading nobody knows whether it is contained, and it would count twice
        until the next reading. So the depth is read again, but not for ever in a rush.
        """
        for _ in range(_READINGS_MAX):
            with self._lock:
                sent = self._sent_since.copy()
            depth = self._queue.depth()
            with self._lock:
                if sent == self._sent_since:
                    break
        return depth, sent

    def _is_interactive(self, wait_s: float) -> bool:
        before = 0 if self._depth.interactive is None else self._interactive() + self._entering[True]
        return before / self._jobs_per_s() < wait_s

    def _check_room(self, *, is_interactive: bool) -> None:
        count_max = self._backlog_max[is_interactive]
        beyond = self._backlog() + sum(self._entering.values()) - count_max
        if beyond >= 0:
            why = "already" if is_interactive else "and the remaining room is for callers that wait"
            raise Overloaded(
                f"{count_max} jobs wait {why}; try again after the time in Retry-After",
                retry_after_s=self._seconds_for(beyond + count_max / 10),
            )

    def _keep_place(self, job_id: str, *, is_interactive: bool) -> None:
        backlog = self._backlog()
        if is_interactive and self._depth.interactive is not None:
            mine = self._interactive()
            backlog = mine + min(backlog - mine, math.ceil(mine * _ASYNCHRONOUS_PER_INTERACTIVE))
        # The jobs in flight are finished first.
        self._places[job_id] = self._done + self._depth.in_flight + backlog
        if len(self._places) > self._backlog_max[True]:
            del self._places[next(iter(self._places))]

    def _backlog(self) -> int:
        return self._depth.backlog + sum(self._sent_since.values())

    def _interactive(self) -> int:
        return (self._depth.interactive or 0) + self._sent_since[True]

    def _jobs_per_s(self) -> float:
        return self._rate.value or 1 / _JOB_S

    def _seconds_for(self, count: float) -> int:
        seconds = count / self._jobs_per_s() + (self._startup_s if self._is_asleep and count > 0 else 0.0)
        return min(_RETRY_MAX_S, max(1, math.ceil(seconds)))


class _Mean:
    """A weighted mean: a value's weight is the time it lasted, and decays with its age."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float, seconds: float) -> None:
        kept = math.exp(-seconds / self._memory_s)
        self._sum = self._sum * kept + value * (1 - kept)
        self._weight = self._weight * kept + 1 - kept

    @property
    def value(self) -> float:
        return self._sum / self._weight if self._weight else 0.0
