"""Delivers webhooks, beside the requests and in their event loop; what is not delivered has a record.

The records are the truth: this process remembers ids of jobs, and when to look at each. Every look reads the
record again, so that a delivery that another process made, or a job that was deleted, is seen. A record is
removed after the delivery, never before it: a death in between delivers twice, with the same id.
"""

import asyncio
import contextlib
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

from beholder.clock import Clock, MonotonicClock, age_s
from beholder.errors import BeholderError
from beholder.job import Job, JobStatus
from beholder.telemetry.log import log_event
from beholder.telemetry.metrics import Telemetry
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.deletion import is_deleted
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.request import Outcome
from beholder.web.submission.retry import RETRYABLE
from beholder.web.webhooks.events import EventSender
from beholder.web.webhooks.looks import Look, Looks
from beholder.web.webhooks.places import HostPlaces
from beholder.web.webhooks.ports import WebhookPorts
from beholder.web.webhooks.record import START, Webhook, WebhookRecord
from beholder.web.webhooks.records import WebhookRecords
from beholder.web.webhooks.schedule import PAUSE_S_MAX, Attempt, AttemptResult, Verdict, decide

__all__ = ["WebhookDeliverer"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_A = TypeVar("_A")

_AT_ONCE_MAX = 64
_STORE_THREADS = 4
_FIRST_LOOK_S, _LOOK_S_MAX = 30.0, 600.0
_AFTER_ERROR_S = 30.0
# A record without an image is one of an upload that was not accepted, if it is older than any upload takes.
_ORPHAN_S = 600.0
_STOP_S = 3.0
_SCAN_SPREAD = 0.1
_FOUND_PER_S = 100.0


class WebhookDeliverer:
    """Delivers the webhooks of one web process, and those that no process delivers; used from one event loop.

    Args:
        ports: How webhooks leave.
        records: What is not delivered yet.
        sender: Sends events.
        lookup: Finds outcomes.
        telemetry: Counts attempts.
        clock: The time.
    """

    def __init__(
        self,
        ports: WebhookPorts,
        records: WebhookRecords,
        sender: EventSender,
        *,
        lookup: JobLookup,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._ports = ports
        self._records = records
        self._sender = sender
        self._lookup = lookup
        self._clock = clock
        self._telemetry = telemetry
        # A step of the machine's time moves no look.
        self._looks = Looks(MonotonicClock())
        self._places = HostPlaces(self._looks.schedule)
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._has_scanned = False
        self._threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="webhook")

    @property
    def waiting(self) -> int:
        """How many jobs are watched."""
        return len(self._looks)

    def start(self) -> None:
        """Begin to deliver, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._delivering = self._loop.create_task(self._deliver())

    async def stop(self) -> None:
        """End; what is not delivered keeps its record."""
        self._delivering.cancel()
        under_way = [*self._tasks, *self._starting.values()]
        if under_way:
            await asyncio.wait(under_way, timeout=_STOP_S)
        for task in (ended := [self._delivering, *self._tasks, *self._starting.values()]):
            task.cancel()
        await asyncio.wait(ended, timeout=_STOP_S)
        self._threads.shutdown(wait=False)

    def expect(self, job_id: str) -> None:
        """Watch for a job's outcome; call this before its message is sent, and then one of the next two."""
        look = self._looks.add(job_id)
        if look is not None:
            look.is_expected = True

    def accepted(self, job: Job, webhook: Webhook) -> None:
        """Send the event `start` of a job once, if it is asked for, and deliver what follows."""
        host = _host_of(webhook)
        is_free = len(self._starting) < _AT_ONCE_MAX and not self._places.is_full(host)
        if START in webhook.events and is_free:
            task = asyncio.create_task(self._send_start(job, webhook, host))
            self._starting[job.id] = task
            task.add_done_callback(lambda _: self._starting.pop(job.id, None))
        self._release(job.id)

    def not_accepted(self, job_id: str) -> None:
        """Look later for a record: of an earlier request with the same key, or of a client that left."""
        self._release(job_id)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Deliver the webhooks of jobs with an outcome; of a canceled job also for other processes."""
        for outcome in outcomes:
            job_id = outcome.job.id
            is_canceled = outcome.job.status is JobStatus.CANCELED and not is_deleted(outcome)
            look = self._looks.add(job_id) if is_canceled else self._looks.get(job_id)
            if look is None:
                continue
            look.is_urgent |= is_canceled
            if not look.is_expected and (look.at_s < math.inf or is_canceled):
                self._looks.schedule(job_id)
            else:  # its submission, a look or another delivery goes on, and has a look follow
                look.is_asked = True

    def _release(self, job_id: str) -> None:
        look = self._looks.get(job_id)
        if look is not None:
            look.is_expected = False
            self._looks.schedule(job_id, 0.0 if look.is_asked else _FIRST_LOOK_S)

    # --- looks ----------------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        while True:
            room = _AT_ONCE_MAX - len(self._tasks)
            for job_id, look in itertools.islice(self._looks.take_due(), room):
                task = asyncio.create_task(self._look_at(job_id, look))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
            await self._looks.wait(is_full=len(self._tasks) >= _AT_ONCE_MAX)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._looks.wake()

    async def _look_at(self, job_id: str, look: Look) -> None:
        """Look at one record; the outermost place of its task."""
        after_s: float | None = _AFTER_ERROR_S
        try:
            after_s = await self._pass(job_id, look)
        except BeholderError as exc:
            log_event(_log, logging.WARNING, "webhook.retry", exc.message, code=exc.code, job_id=job_id)
        except Exception:  # noqa: BLE001 -- a delivery that fails may not end the others
            _log.exception(
                "a delivery failed", extra={"action": "webhook.error", "facts": {"job_id": job_id}}
            )
        self._looks.end(job_id, after_s)
        self._places.pass_on(job_id)

    async def _pass(self, job_id: str, look: Look) -> float | None:
        """Make an attempt if one is due.

        Returns:
            Seconds to the next look; None if nothing is left to do; infinite if a place at a host decides.
        """
        record = None if look.is_over else await self._in_thread(self._records.read, job_id)
        if record is None:
            if look.is_over:
                await self._in_thread(self._records.delete, job_id)
            return None
        is_own = record.owner == self._ports.owner or look.is_urgent
        patience_s = 0.0 if is_own else self._ports.takeover_s
        left_s = self._left_s(record.due_at_s, PAUSE_S_MAX if record.attempts else 0.0, patience_s)
        if left_s > 0:
            return left_s
        outcome = await self._in_thread(self._lookup.outcome, job_id)
        if outcome is None:
            after_s = await self._unfinished(record, look)
        elif is_deleted(outcome):
            after_s = None
        else:
            left_s = self._left_s(outcome.job.completed_at_s or 0.0, 0.0, patience_s)
            if left_s > 0 and not is_own:
                return left_s
            after_s = await self._attempt(record, outcome.job)
        if after_s is None:
            # If the bucket does not answer, the next look removes the record, and sends nothing again.
            look.is_over = True
            await self._in_thread(self._records.delete, job_id)
        return after_s

    def _left_s(self, at_s: float, pause_s_max: float, patience_s: float) -> float:
        """Return the seconds to a time that was at most `pause_s_max` away when it was noted.

        What is more comes from a clock that was set back since.
        """
        return min(at_s - self._clock.now_s(), pause_s_max) + patience_s

    async def _attempt(self, record: WebhookRecord, job: Job) -> float | None:
        """Send what is left, and return as `_pass`; None if the record is to be removed."""
        host = _host_of(record.webhook)
        if self._places.is_full(host):
            self._places.wait_for(host, job.id)
            return math.inf
        with self._places.taken(host, job.id):
            if record.attempts == 0 and job.status in RETRYABLE:
                await self._in_thread(self._records.keep, record)
            if record.owner != self._ports.owner:
                record = replace(record, owner=self._ports.owner)
                await self._in_thread(self._records.write, record)
            if (starting := self._starting.get(job.id)) is not None:
                await asyncio.wait([starting])  # the events' order
            attempt = await self._sender.send_outcome(record, job)
            now_s = self._clock.now_s()
            verdict = decide(attempt, record.attempts, now_s, self._ports.chance(), self._ports.pauses_s)
            self._places.note(
                host, is_failing=verdict.result in (AttemptResult.FAILED, AttemptResult.GIVEN_UP)
            )
            self._note(verdict, record, host, attempt)
        if verdict.pause_s is not None:
            due_at_s = now_s + verdict.pause_s
            record = replace(record, attempts=record.attempts + 1, due_at_s=due_at_s)
            await self._in_thread(self._records.write, record)
        return verdict.pause_s

    async def _unfinished(self, record: WebhookRecord, look: Look) -> float | None:
        """Return as `_pass`; None if the job does not exist."""
        if age_s(self._clock.now_s(), record.created_at_s) > _ORPHAN_S:
            # This also sends a lost message again.
            found = await self._in_thread(self._lookup.find, record.job_id)
            if found is None:
                log_event(_log, logging.WARNING, "webhook.dropped", "its job is gone", job_id=record.job_id)
                return None
        look.pause_s = min(look.pause_s * 2, _LOOK_S_MAX)
        return look.pause_s

    async def _send_start(self, job: Job, webhook: Webhook, host: str) -> None:
        with self._places.taken(host, job.id):
            attempt = await self._sender.send(START, job, webhook)
        said = attempt.reason or f"the receiver answered {attempt.status}"
        log_event(_log, logging.DEBUG, "webhook.start", said, job_id=job.id, host=host)

    def _note(self, verdict: Verdict, record: WebhookRecord, host: str, attempt: Attempt) -> None:
        """Count and log an attempt; never with the URL, which may have a secret."""
        self._telemetry.webhooks.labels(str(verdict.result)).inc()
        facts: dict[str, object] = {
            "result": str(verdict.result),
            "job_id": record.job_id,
            "webhook_id": record.webhook.id,
            "host": host,
            "status": attempt.status,
            "attempt": record.attempts + 1,
        }
        if verdict.pause_s is not None:
            facts["pause_s"] = round(verdict.pause_s, 1)
        level = logging.INFO if verdict.result is AttemptResult.DELIVERED else logging.WARNING
        log_event(_log, level, "webhook.attempt", verdict.reason, **facts)

    # --- records that no process has in memory --------------------------------------------------------------

    def tick(self) -> float:
        """Find records, at the start and about once a minute among all web processes; call it in a thread.

        Raises:
            BackendError: The bucket does not answer.
        """
        every_s = self._ports.scan_every_s
        if self._records.claim_scan(every_s) or not self._has_scanned:
            found = self._records.job_ids()
            self._has_scanned = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._found, found)
        return every_s * (1 + _SCAN_SPREAD * self._ports.chance())

    def _found(self, job_ids: Sequence[str]) -> None:
        unknown = [job_id for job_id in job_ids if job_id not in self._looks]
        # If there is no room for all, each of them has its turn at some scan.
        unknown.sort(key=lambda _: self._ports.chance())
        # One after the other, so that a new outcome does not wait behind thousands of old records.
        for place, job_id in enumerate(unknown[: self._looks.make_room()]):
            self._looks.schedule(job_id, place / _FOUND_PER_S)

    async def _in_thread(self, call: Callable[[_A], _T], argument: _A) -> _T:
        return await bounded(self._threads, LOOKUP_S_MAX, call, argument)


def _host_of(webhook: Webhook) -> str:
    return urlsplit(webhook.url).hostname or ""
