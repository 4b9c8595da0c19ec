"""One worker: several consumers, so that one computes while another waits for a bucket or a queue."""

from collections.abc import Iterator, Sequence

from beholder.draining.protocol import FinalPoll
from beholder.draining.work import WorkDone
from beholder.worker.consumer import Consumer

__all__ = ["Worker"]


class Worker:
    """The consumers of one process, which are paused, drained and idle together.

    Args:
        consumers: Each with an in-flight journal of its own; they share their `SharedPolls`.
    """

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self._consumers = tuple(consumers)

    def __iter__(self) -> Iterator[Consumer]:
        """Yield each consumer."""
        return iter(self._consumers)

    def pause(self) -> None:
        """Receive nothing more for now, in any consumer, except by a final poll."""
        for consumer in self._consumers:
            consumer.pause()

    def resume(self) -> None:
        """Receive again."""
        for consumer in self._consumers:
            consumer.resume()

    def drain(self) -> None:
        """Finish what is begun, hand back what is not, and receive nothing more."""
        for consumer in self._consumers:
            consumer.drain()

    def hand_back(self) -> None:
        """Make what is still held visible to others; call it when no consumer runs any more."""
        for consumer in self._consumers:
            consumer.hand_back()

    @property
    def is_paused_and_empty(self) -> bool:
        """Say whether every consumer is paused and empty."""
        return all(consumer.is_paused_and_empty for consumer in self._consumers)

    @property
    def idle_since_s(self) -> float | None:
        """Since when no consumer has had work; None while one has."""
        since_s = [consumer.idle_since_s for consumer in self._consumers]
        idle = [one for one in since_s if one is not None]
        return max(idle) if len(idle) == len(since_s) else None

    @property
    def work(self) -> WorkDone:
        """What the consumers have done: their mean busy time, and all their messages."""
        done = [consumer.work for consumer in self._consumers]
        first = [one.first_sent_at_s for one in done if one.first_sent_at_s is not None]
        return WorkDone(
            sum(one.busy_s for one in done) / len(done),
            sum(one.messages for one in done),
            min(first, default=None),
        )

    @property
    def final_poll(self) -> FinalPoll | None:
        """What the poll returned that one consumer made for all; None if there was none."""
        return self._consumers[0].final_poll
