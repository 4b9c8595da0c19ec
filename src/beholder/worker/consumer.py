"""One consumer: a `tick()` takes at most one batch of messages all the way through."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from beholder.clock import Clock
from beholder.draining.protocol import FinalPoll
from beholder.draining.work import WorkDone
from beholder.errors import BackendError, BeholderError
from beholder.queue.bounds import COUNT_MAX
from beholder.queue.port import Received
from beholder.results import outcomes
from beholder.results.attempts import Step, Trouble, split
from beholder.telemetry.log import log_event
from beholder.worker import steps
from beholder.worker.extender import VisibilityExtender
from beholder.worker.journal import InFlightJournal
from beholder.worker.ports import WorkerPorts
from beholder.worker.retries import Retries, Todo

__all__ = ["Consumer", "SharedPolls"]

_log = logging.getLogger(__name__)

_PAUSED_S = 0.1


class SharedPolls:
    """What the consumers of one worker share: one poll at a time, and what the final poll returned.

    A second poll would receive what a draining consumer has just handed back, and each receive counts.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.final: FinalPoll | None = None


class Consumer:
    """Receives messages, recognises their images, and acknowledges each only when its result is stored.

    A message that was received before is processed alone, since it may kill its worker.

    Args:
        ports: What the worker works with.
        journal: Lists the messages that it holds, for its successor.
        extender: Keeps those messages hidden.
        batch_max: Messages taken at once; above ten only while the queue has so many.
        wait_s: How long one pass waits for a message; a drain begins no later than that.
        final_poll_s: How long the final poll after a pause waits; 0 for no such poll, where the queue's
            counts are exact.
        polls: Shared with the other consumers of the worker.
        elapsed: The clock of its idle and busy time; only durations count.
    """

    def __init__(
        self,
        ports: WorkerPorts,
        journal: InFlightJournal,
        extender: VisibilityExtender,
        *,
        batch_max: int,
        wait_s: float,
        final_poll_s: float,
        polls: SharedPolls,
        elapsed: Clock,
    ) -> None:
        self._ports = ports
        self._journal = journal
        self._extender = extender
        self._batch_max = batch_max
        self._wait_s = wait_s
        self._final_poll_s = final_poll_s
        self._polls = polls
        self._elapsed = elapsed
        self._draining = threading.Event()
        self._paused = threading.Event()
        self._is_receiving = False
        self._idle_since_s: float | None = elapsed.now_s()
        self._busy_since_s: float | None = None
        self._done = WorkDone()
        self._held: tuple[Received, ...] = ()
        self._todo: deque[Todo] = deque()
        self._has_resumed = False
        self._is_successor = False
        self._retries = Retries(ports, extender, elapsed)

    def drain(self) -> None:
        """Finish what is begun, hand back what is not, and receive nothing more; safe in a signal handler."""
        self._draining.set()

    def pause(self) -> None:
        """Receive nothing more for now, except by a final poll; what a poll still returns is processed."""
        if not self._paused.is_set():
            self._polls.final = None
        self._paused.set()

    def resume(self) -> None:
        """Receive again."""
        self._paused.clear()

    @property
    def is_paused_and_empty(self) -> bool:
        """Say whether it is paused and holds nothing, and no receive is running or to come."""
        is_polled = self._polls.final is not None or not self._final_poll_s or self._draining.is_set()
        return self._paused.is_set() and is_polled and not self._is_receiving and not self._held

    @property
    def final_poll(self) -> FinalPoll | None:
        """What the poll returned that began after the pause; None before it."""
        return self._polls.final

    @property
    def idle_since_s(self) -> float | None:
        """Since when it has had no work, on the clock of `elapsed`; None while it has some."""
        return self._idle_since_s

    @property
    def work(self) -> WorkDone:
        """What it has done since its start."""
        done, since_s = self._done, self._busy_since_s
        if since_s is None:
            return done
        return replace(done, busy_s=done.busy_s + max(0.0, self._elapsed.now_s() - since_s))

    def tick(self) -> float:
        """Take one batch through all steps; return the seconds until the next pass.

        The first pass goes on where a predecessor of the same name died.
        """
        if not self._has_resumed:
            self._take_over()
            self._has_resumed = True
            if not self._todo:
                return 0.0
        if not self._due() and not self._fill():
            return 0.0 if self._compare() else self._pause_s()
        self._work()
        return 0.0

    def hand_back(self) -> None:
        """Make what is still held visible to others; call it after the last tick."""
        if self._held:
            self._ports.queue.nack([message.receipt for message in self._held])
            self._todo.clear()
            self._release(self._held)

    def _fill(self) -> bool:
        """Receive a batch, and say whether any message came."""
        self._is_receiving = True  # before the pause is checked, and until the batch is held
        try:
            # Another consumer that polls will receive what comes; meanwhile this one may run the shadow.
            if not self._polls.lock.acquire(blocking=not self._has_shadow_work()):
                return False
            try:
                received = self._poll()
            finally:
                self._polls.lock.release()
            if received and self._draining.is_set():
                self._ports.queue.nack([message.receipt for message in received])
                return False
            if received:
                self._hold(received, resumed=False)
            return bool(received)
        finally:
            self._is_receiving = False

    def _has_shadow_work(self) -> bool:
        shadow = self._ports.shadow
        return shadow is not None and shadow.has_work and not self._paused.is_set()

    def _compare(self) -> bool:
        """Run the shadow on one image if nothing was received, and say whether it ran."""
        shadow = self._ports.shadow
        if shadow is None or self._draining.is_set() or self._paused.is_set():
            return False
        compared = shadow.compare_next()
        if compared and compared.message.reply_to and not shadow.has_work:
            # No reply may come for long that could carry the last counts.
            outcomes.report(self._ports.replies, compared.message.reply_to, self._ports.unreported)
        return compared is not None

    def _due(self) -> Todo | None:
        """Return the messages to try now; None if it is time to receive, or to wait."""
        now_s = self._elapsed.now_s()
        return next((todo for todo in self._todo if todo.due_s <= now_s or self._draining.is_set()), None)

    def _pause_s(self) -> float:
        """Return how long to wait when nothing is due and nothing was received."""
        if self._paused.is_set():
            return _PAUSED_S
        return 0.0 if self._room() else self._until_due_s()

    def _until_due_s(self) -> float:
        """Return the seconds until something held is due; the longest wait of a pass if nothing is held."""
        now_s = self._elapsed.now_s()
        return min((max(0.0, todo.due_s - now_s) for todo in self._todo), default=self._wait_s)

    def _room(self) -> int:
        """Return how many more messages it may hold, besides those that it retries.

        While it retries ten it receives no more: so many failures are not the trouble of single messages.
        """
        retried = sum(len(todo.messages) for todo in self._todo if todo.tries)
        return max(0, self._batch_max - len(self._held) + retried) if retried < COUNT_MAX else 0

    def _poll(self) -> list[Received]:
        """Receive; once paused, make one final poll to see whether anything is left from before."""
        if self._draining.is_set() or not self._room():
            return []
        if not self._paused.is_set():
            received = self._receive()
            if received and self._paused.is_set():
                self._polls.final = FinalPoll.FOUND
            return received
        if self._polls.final is not None or not self._final_poll_s:
            return []
        received = self._receive_once(self._room(), self._final_poll_s)
        self._polls.final = FinalPoll.FOUND if received else FinalPoll.EMPTY
        return received

    def _receive(self) -> list[Received]:
        room = self._room()
        wait_s = 0.0 if self._has_shadow_work() else min(self._wait_s, self._until_due_s())
        received = self._receive_once(room, wait_s)
        # A queue returns ten messages at most. If it returns ten, there are probably more, and larger batches
        # need fewer replies, each of which is a call.
        while received and len(received) % COUNT_MAX == 0 and len(received) < room:
            try:
                more = self._receive_once(room - len(received), 0.0)
            except BackendError:  # what is received already is processed first; the next pass meets the error
                break
            if not more:
                break
            received += more
        return received

    def _receive_once(self, count_max: int, wait_s: float) -> list[Received]:
        return self._ports.queue.receive(
            count_max=min(count_max, COUNT_MAX),
            wait_s=wait_s,
            # As long as the extender's extensions, whatever the queue's own setting is.
            visibility_timeout_s=self._extender.timeout_s,
        )

    def _take_over(self) -> None:
        """Continue with the messages of a predecessor, and hand back the one that may have killed it."""
        left = self._journal.left_behind()
        if not left.held:
            return
        receipts = [message.receipt for message in left.held]
        # As long as a fresh receive hides them: the extender's first extension may come nearly that late.
        gone = set(self._ports.queue.extend(receipts, timeout_s=self._extender.timeout_s))
        suspects = [left.current] if left.current else []
        if left.resumed:
            suspects = list(left.held)
        back = [message.receipt for message in suspects if message.receipt not in gone]
        rest = [message for message in left.held if message.receipt not in gone and message not in suspects]
        log_event(
            _log,
            logging.WARNING,
            "worker.resume",
            "a predecessor died",
            handed_back=len(back),
            taken_over=len(rest),
        )
        self._ports.queue.nack(back)
        self._journal.clear()
        if rest:
            self._hold(rest, resumed=True)

    def _hold(self, received: Sequence[Received], *, resumed: bool) -> None:
        now_s = self._elapsed.now_s()
        if not self._held:
            self._idle_since_s = None
            self._busy_since_s = now_s
            self._is_successor = resumed
        self._held += tuple(received)
        self._journal.hold(self._held, resumed=self._is_successor)
        self._extender.hold([message.receipt for message in received])
        fresh = [message for message in received if message.receive_count == 1]
        self._todo.extend([Todo(fresh, now_s, now_s)] if fresh else [])
        self._todo.extend(Todo([message], now_s, now_s) for message in received if message.receive_count > 1)

    def _release(self, released: Sequence[Received]) -> None:
        if not released:
            return
        receipts = {message.receipt for message in released}
        self._extender.release(list(receipts))
        self._held = tuple(message for message in self._held if message.receipt not in receipts)
        self._done = replace(self._done, messages=self._done.messages + len(receipts))
        if self._held:
            self._journal.hold(self._held, resumed=self._is_successor)
            return
        self._journal.clear()
        self._done = self.work
        self._busy_since_s = None
        self._idle_since_s = self._elapsed.now_s()

    def _work(self) -> None:
        """Take the messages that are due through all steps.

        If a store or queue is away, the messages that need it stay hidden, and the next pass tries them
        again. Handing them back would cost each message a receive, so the jobs would fail after a minute or
        so.
        """
        while todo := self._due():
            if self._draining.is_set():
                self.hand_back()
                return
            batch = [message for message in todo.messages if self._extender.is_holding(message.receipt)]
            # Other workers have the rest now.
            self._release([message for message in todo.messages if message not in batch])
            todo.messages = batch
            if not batch:
                self._todo.remove(todo)
            elif error := self._run(todo):
                raise error

    def _run(self, todo: Todo) -> Exception | None:
        """Take messages through all steps; return the error after which the next pass has to wait."""
        batch = todo.messages
        try:
            troubles, working = self._steps(batch)
            away, own = self._retries.sort(troubles, working)
            again = [retry for trouble in own if (retry := self._retries.again(trouble, todo))]
        except Exception:
            self.hand_back()
            raise
        self._todo.remove(todo)
        if away:
            self._todo.appendleft(replace(todo, messages=[trouble.received for trouble in away]))
        self._todo.extend(again)
        kept = {trouble.received.receipt for trouble in away} | {retry.messages[0].receipt for retry in again}
        self._release([message for message in batch if message.receipt not in kept])
        if away:
            return away[0].error
        # A broken model fails every image: without a pause it would use up the backlog at full speed. A
        # `BeholderError` concerns its own message alone.
        is_all = len(own) == len(batch) and not isinstance(own[0].error, BeholderError)
        return own[0].error if is_all else None

    def _steps(self, batch: Sequence[Received]) -> tuple[list[Trouble], set[Step]]:
        """Return the trouble of the messages, and the steps whose store worked for some of them."""
        troubles: list[Trouble] = []
        working: set[Step] = set()
        deliveries = split(steps.read(self._ports, batch), troubles)
        if deliveries and self._done.first_sent_at_s is None:
            first_sent_at_s = min(delivery.message.created_at_s for delivery in deliveries)
            self._done = replace(self._done, first_sent_at_s=first_sent_at_s)
        fetched = split(steps.fetch(self._ports, deliveries), troubles)
        if any(image.is_from_store for image in fetched):
            working.add("get")
        for part in steps.light_first(self._ports, fetched):
            self._finish(part, troubles, working)
        return troubles, working

    def _finish(self, fetched: Sequence[steps.Fetched], troubles: list[Trouble], working: set[Step]) -> None:
        """Take what was fetched through the other steps; add to `troubles` and `working`."""
        place = {message.receipt: number for number, message in enumerate(self._held)}
        decoded = steps.decode(
            self._ports, fetched, lambda delivery: self._journal.decoding(place[delivery.received.receipt])
        )
        prepared = split(decoded, troubles)
        self._journal.decoding(None)
        classified = split(steps.classify(self._ports, prepared), troubles)
        unstored = len(troubles)
        settled = split(steps.settle(self._ports, classified), troubles) if classified else []
        if sum(trouble.step == "put" for trouble in troubles[unstored:]) < len(classified):
            working.add("put")
        troubles += steps.ack(self._ports, settled)
        for one in settled:
            if self._ports.shadow is not None and one.sample is not None:
                self._ports.shadow.offer(one.sample)
