"""The dead-letter consumer: a job whose every attempt killed its worker still ends with an outcome."""

from beholder.dead_letters.writer import DeadLetterWriter
from beholder.queue.bounds import COUNT_MAX
from beholder.queue.port import Queue, Received
from beholder.results.attempts import attempt

__all__ = ["DeadLetterConsumer"]


class DeadLetterConsumer:
    """Empties the dead-letter queue into the output bucket.

    Args:
        queue: The dead-letter queue.
        writer: Writes outcomes and letters.
        wait_s: How long one pass waits for a message.

    Attributes:
        given_up: Messages given up so far.
    """

    def __init__(self, queue: Queue, writer: DeadLetterWriter, *, wait_s: float) -> None:
        self._queue = queue
        self._writer = writer
        self._wait_s = wait_s
        self.given_up = 0

    def tick(self) -> float:
        """Give up the messages in the queue; return the seconds until the next pass.

        A message that fails does not delay the others; it is received again after its visibility timeout.
        """
        received = self._queue.receive(count_max=COUNT_MAX, wait_s=self._wait_s)
        errors = [error for message in received if (error := attempt(self._give_up, message)) is not None]
        if errors:
            raise errors[0]
        return 0.0

    def _give_up(self, received: Received) -> None:
        self._writer.give_up(received.body)
        self._queue.ack([received.receipt])
        self.given_up += 1
