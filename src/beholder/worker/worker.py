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
        """Since when no consumer has had work; None while any of them has."""
        idle = [since_s for consumer in self._consumers if (since_s := consumer.idle_since_s) is not None]
        return max(idle) if len(idle) == len(self._consumers) else None

    @property
    def work(self) -> WorkDone:
        """What the consumers have done: their mean busy time, and all their messages."""
        works = [consumer.work for consumer in self._consumers]
        first = [work.first_sent_at_s for work in works if work.first_sent_at_s is not None]
        return WorkDone(
            sum(work.busy_s for work in works) / len(works),
            sum(work.messages for work in works),
            min(first, default=None),
        )

    @property
    def final_poll(self) -> FinalPoll | None:
        """What the final poll returned, which one consumer makes for all; None before it."""
        return self._consumers[0].final_poll
