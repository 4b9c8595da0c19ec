"""One worker: a `tick()` takes at most one batch of messages all the way through."""

import logging
import threading
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
        retry_s: How long a message is hidden after a backend failed under it.
    """

    def __init__(
        self,
        ports: WorkerPorts,
        note: HoldingNote,
        keeper: Keeper,
        *,
        batch_max: int = 4,
        wait_s: float = 1.0,
        retry_s: float = 5.0,
    ) -> None:
        """Hold nothing yet."""
        self._ports = ports
        self._note = note
        self._keeper = keeper
        self._batch_max = batch_max
        self._wait_s = wait_s
        self._retry_s = retry_s
        self._draining = threading.Event()
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
            return 0.0
        received = self._ports.queue.receive(count_max=self._batch_max, wait_s=self._wait_s)
        if received:
            self._work(received, resumed=False)
        return 0.0

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
            self._work(rest, resumed=True)

    def _work(self, received: Sequence[Received], *, resumed: bool) -> None:
        receipts = [one.receipt for one in received]
        self._note.hold(received, resumed=resumed)
        self._keeper.hold(receipts)
        try:
            fresh = [one for one in received if one.receive_count == 1]
            alone = [[one] for one in received if one.receive_count > 1]
            for batch in [fresh, *alone] if fresh else alone:
                if self._draining.is_set():
                    self._ports.queue.nack([one.receipt for one in batch])
                else:
                    self._run(batch, received)
        except BackendError:
            # Hidden for a while rather than handed back: the next attempt would meet the same backend.
            self._ports.queue.extend(receipts, timeout_s=self._retry_s)
            raise
        except Exception:
            self._ports.queue.nack(receipts)
            raise
        finally:
            self._keeper.release(receipts)
            self._note.clear()

    def _run(self, batch: Sequence[Received], received: Sequence[Received]) -> None:
        deliveries = steps.read(self._ports, batch)
        if not deliveries:
            return
        place = {one.receipt: number for number, one in enumerate(received)}
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
