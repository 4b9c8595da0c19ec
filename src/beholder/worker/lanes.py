"""Several lanes of one worker: while one waits for a bucket or a queue, another computes."""

from collections.abc import Iterator, Sequence

from beholder.worker.leaving import LastPoll
from beholder.worker.worker import Work, Worker

__all__ = ["Lanes"]


class Lanes:
    """Workers of one process that are paused, drained and idle together.

    Args:
        lanes: Each with a holding note of its own; they share their `Polls`.
    """

    def __init__(self, lanes: Sequence[Worker]) -> None:
        """Take the lanes."""
        self._lanes = tuple(lanes)

    def __iter__(self) -> Iterator[Worker]:
        """Yield each lane."""
        return iter(self._lanes)

    def pause(self) -> None:
        """Receive nothing more for now, in no lane, but for a last poll."""
        for lane in self._lanes:
            lane.pause()

    def resume(self) -> None:
        """Receive again."""
        for lane in self._lanes:
            lane.resume()

    def drain(self) -> None:
        """Finish what is begun, hand back what is not, and receive nothing more."""
        for lane in self._lanes:
            lane.drain()

    def hand_back(self) -> None:
        """Make what is still in hand visible to others; call it when no lane runs any more."""
        for lane in self._lanes:
            lane.hand_back()

    @property
    def is_paused_and_empty(self) -> bool:
        """Say whether no lane holds or receives anything, and none will."""
        return all(lane.is_paused_and_empty for lane in self._lanes)

    @property
    def idle_since_s(self) -> float | None:
        """Since when no lane has had work; None while one has."""
        since_s = [lane.idle_since_s for lane in self._lanes]
        idle = [one for one in since_s if one is not None]
        return max(idle) if len(idle) == len(since_s) else None

    @property
    def work(self) -> Work:
        """How long the lanes have been busy, in the mean, and with how many messages all together."""
        done = [lane.work for lane in self._lanes]
        first = [one.first_sent_at_s for one in done if one.first_sent_at_s is not None]
        return Work(
            sum(one.busy_s for one in done) / len(done),
            sum(one.messages for one in done),
            min(first, default=None),
        )

    @property
    def last_poll(self) -> LastPoll | None:
        """What the poll brought that one of the lanes made for all of them; None where there was none."""
        return self._lanes[0].last_poll
