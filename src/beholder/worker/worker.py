"""One worker: a `tick()` takes at most one batch of messages all the way through."""

import logging
import threading
from collections import deque
from collections.abc import Sequence

from beholder.errors import BackendError
from beholder.queue.port import Received
from beholder.telemetry.log import get_logger, say
from beholder.worker import outcomes, steps
from beholder.worker.keeper import Keeper
from beholder.worker.note import HoldingNote
from beholder.worker.ports import WorkerPorts

__all__ = ["Worker"]

_log = get_logger(__name__)


class Worker:
    """Takes messages, recognises their images, and acknowledges each only when its result is stored.

    A message that was received before is worked on alone, since it may be the one that kills workers.

    Args:
        ports: What it works with.
        note: Where it writes what it holds, for its successor.
        keeper: Keeps what it holds hidden.
        batch_max: Messages taken at once, 1 to 10.
        wait_s: How long one pass waits for a message; a drain takes no longer to begin.
    """

    def __init__(
        self,
        ports: WorkerPorts,
        note: HoldingNote,
        keeper: Keeper,
        *,
        batch_max: int = 4,
        wait_s: float = 1.0,
    ) -> None:
        """Hold nothing yet."""
        self._ports = ports
        self._note = note
        self._keeper = keeper
        self._batch_max = batch_max
        self._wait_s = wait_s
        self._draining = threading.Event()
        self._held: tuple[Received, ...] = ()
        self._todo: deque[list[Received]] = deque()
        self._resumed = False

    def drain(self) -> None:
        """Finish what is begun, hand back what is not, and receive nothing more; safe in a signal handler."""
        self._draining.set()

    @property
    def is_draining(self) -> bool:
        """Say whether the worker receives nothing more."""
        return self._draining.is_set()

    def tick(self) -> float:
        """Take one batch through all steps; returns the seconds until the next pass.

        The first pass goes on where a predecessor of the same name died.
        """
        if not self._resumed:
            self._resume()
            self._resumed = True
            if not self._todo:
                return 0.0
        if not self._todo:
            received = self._ports.queue.receive(count_max=self._batch_max, wait_s=self._wait_s)
            if not received:
                return 0.0
            self._take(received, resumed=False)
        self._work()
        return 0.0

    def hand_back(self) -> None:
        """Make what is still in hand visible to others; call it after the last tick."""
        if self._held:
            self._ports.queue.nack([one.receipt for one in self._held])
            self._let_go()

    def _resume(self) -> None:
        left = self._note.left_behind()
        if not left.held:
            return
        receipts = [one.receipt for one in left.held]
        # For as long as a fresh receive hides them: the keeper's first extension may come nearly that late.
        gone = set(self._ports.queue.extend(receipts, timeout_s=self._keeper.timeout_s))
        suspects = [left.current] if left.current else []
        if left.resumed:
            suspects = list(left.held)
        back = [one.receipt for one in suspects if one.receipt not in gone]
        rest = [one for one in left.held if one.receipt not in gone and one not in suspects]
        say(
            _log,
            logging.WARNING,
            "worker.resume",
            "a predecessor died",
            handed_back=len(back),
            taken_over=len(rest),
        )
        self._ports.queue.nack(back)
        self._note.clear()
        if rest:
            self._take(rest, resumed=True)

    def _take(self, received: Sequence[Received], *, resumed: bool) -> None:
        self._held = tuple(received)
        self._note.hold(received, resumed=resumed)
        self._keeper.hold([one.receipt for one in received])
        fresh = [one for one in received if one.receive_count == 1]
        self._todo.extend([fresh] if fresh else [])
        self._todo.extend([one] for one in received if one.receive_count > 1)

    def _let_go(self) -> None:
        self._keeper.release([one.receipt for one in self._held])
        self._note.clear()
        self._held = ()
        self._todo.clear()

    def _work(self) -> None:
        """Finish what is in hand.

        Where a backend fails, the rest stays in hand and hidden, and the next pass tries it again: handing it
        back would cost a receive, and a store that is away for a minute would cost the job.
        """
        try:
            while self._todo:
                batch = [one for one in self._todo[0] if self._keeper.is_holding(one.receipt)]
                if self._draining.is_set():
                    break
                if batch:
                    self._run(batch)
                self._todo.popleft()
            if self._todo:
                self._ports.queue.nack([one.receipt for batch in self._todo for one in batch])
        except BackendError:
            raise
        except Exception:
            self.hand_back()
            raise
        self._let_go()

    def _run(self, batch: Sequence[Received]) -> None:
        deliveries = steps.read(self._ports, batch)
        if not deliveries:
            return
        place = {one.receipt: number for number, one in enumerate(self._held)}
        prepared = steps.decode(
            self._ports, deliveries, lambda delivery: self._note.decoding(place[delivery.received.receipt])
        )
        self._note.decoding(None)
        jobs = steps.classify(self._ports, prepared)
        messages = {one.message.job_id: one.message for one in deliveries}
        texts_for = {job_id for job_id, message in messages.items() if message.wants_text}
        documents = outcomes.store(self._ports.results, jobs, texts_for)
        outcomes.reply(self._ports.replies, [messages[job.id] for job in jobs], documents)
        steps.ack(self._ports, deliveries)
