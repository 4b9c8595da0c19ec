"""What becomes of a message for which a step failed.

- Its store or queue seems to be away: the worker keeps the message hidden, receives nothing more, and tries
  again in the next pass. So an outage costs no job a receive.
- Its store works for other messages, and the call may succeed later: the worker keeps the message hidden,
  tries it again alone after growing pauses, and receives other messages meanwhile.
- Anything else, or tried for too long: the worker hands the message back with a delay, which costs it a
  receive. At the last receive the worker gives the job up: a failed outcome, and a dead letter with the
  reason.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from beholder.clock import Clock
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.queue.port import Received
from beholder.results.attempts import Step, Trouble, attempt, is_answering
from beholder.telemetry.log import log_event
from beholder.worker.extender import VisibilityExtender
from beholder.worker.ports import WorkerPorts

__all__ = ["Retries", "Todo"]

_log = logging.getLogger(__name__)

# Between two attempts at a message that stays held: doubled each time.
_AGAIN_FIRST_S, _AGAIN_MAX_S = 1.0, 30.0
# How long a message that is handed back stays hidden: five times as long each time.
_BACK_FIRST_S, _BACK_MAX_S, _BACK_GROWTH = 4.0, 300.0, 5


@dataclass(slots=True)
class Todo:
    """Held messages that are taken through all steps together.

    Args:
        messages: Only one message if it was received or tried before.
        due_s: When to try them, on the worker's clock.
        since_s: Since when they are held.
        tries: How often they were tried without success.
    """

    messages: Sequence[Received]
    due_s: float
    since_s: float
    tries: int = 0


class Retries:
    """Decides what becomes of each message that met trouble.

    Args:
        ports: What the worker works with.
        extender: Keeps what the worker holds hidden.
        clock: The worker's; only durations count.
    """

    def __init__(self, ports: WorkerPorts, extender: VisibilityExtender, clock: Clock) -> None:
        self._ports = ports
        self._extender = extender
        self._clock = clock
        self._dead_letters = DeadLetterWriter(
            ports.results, ports.replies, ports.clock, input_bucket=ports.input_bucket
        )

    def sort(self, troubles: Sequence[Trouble], working: set[Step]) -> tuple[list[Trouble], list[Trouble]]:
        """Split troubles into those of a backend that is away and those of single messages.

        Args:
            troubles: Of the messages of one batch.
            working: The steps whose store worked for others of the batch.
        """
        failed_steps = dict.fromkeys(trouble.step for trouble in troubles if trouble.is_backend)
        away_steps = {step for step in failed_steps if step not in working and not self._is_answering(step)}
        away = [trouble for trouble in troubles if trouble.is_backend and trouble.step in away_steps]
        return away, [trouble for trouble in troubles if trouble not in away]

    def again(self, trouble: Trouble, todo: Todo) -> Todo | None:
        """Return the next attempt at a message of `todo`; None if it was handed back or given up."""
        received, now_s = trouble.received, self._clock.now_s()
        keeps = trouble.is_retryable and now_s - todo.since_s < self._extender.hold_max_s / 2
        log_event(
            _log,
            logging.WARNING,
            "worker.trouble",
            trouble.reason,
            receive_count=received.receive_count,
            kept=keeps,
        )
        if keeps:
            pause_s = min(_AGAIN_MAX_S, _AGAIN_FIRST_S * 2**todo.tries)
            return Todo([received], now_s + pause_s, todo.since_s, todo.tries + 1)
        self._extender.release([received.receipt])
        if received.receive_count >= self._ports.receive_count_max and self._gives_up(trouble):
            return None
        back_s = min(_BACK_MAX_S, _BACK_FIRST_S * _BACK_GROWTH ** (received.receive_count - 1))
        # If that fails too, the message becomes visible when its visibility timeout is over.
        attempt(lambda receipt: self._ports.queue.extend([receipt], timeout_s=back_s), received.receipt)
        return None

    def _is_answering(self, step: Step) -> bool:
        if step in {"get", "put"}:
            return is_answering(self._ports.images if step == "get" else self._ports.results, step)
        return step != "ack"

    def _gives_up(self, trouble: Trouble) -> bool:
        """Write the failed outcome and the dead letter of a message, and say whether that succeeded."""

        def give_up(received: Received) -> None:
            self._dead_letters.give_up(received.body, trouble.reason)
            self._ports.queue.ack([received.receipt])

        error = attempt(give_up, trouble.received)
        if error is not None:  # the queue moves it to the dead letters, like a message that kills workers
            log_event(_log, logging.WARNING, "worker.not_given_up", f"{type(error).__name__}: {error}")
        return error is None
