"""Which message a receive takes if messages of several classes wait: weighted round robin.

Interactive messages go first, and each fourth place is offered to asynchronous messages, so that neither
class starves. A heavy message is received alone, so that no light message waits for it in its batch; while
both classes wait, each fourth receive takes a heavy message.
"""

from collections.abc import Callable
from typing import TypeVar

from beholder.queue.port import Priority

__all__ = ["HEAVY", "LIGHT", "PRIORITIES", "WeightedRoundRobin"]

_T = TypeVar("_T")

# Each fourth place and each fourth receive is for the classes that otherwise come second.
_SHARE = 4
LIGHT = (Priority.INTERACTIVE, Priority.ASYNCHRONOUS)
HEAVY = (Priority.INTERACTIVE | Priority.HEAVY, Priority.ASYNCHRONOUS | Priority.HEAVY)
PRIORITIES = (*LIGHT, *HEAVY)


class WeightedRoundRobin:
    """The order in which one receiver takes messages; used by one thread at a time.

    Each receiver counts for itself: if every receiver keeps the share, all of them together do.
    """

    def __init__(self) -> None:
        self._receives = 0
        self._places = {LIGHT: 0, HEAVY: 0}

    def take(self, pop: Callable[[Priority], _T | None], *, count_max: int, heavy_has_room: bool) -> list[_T]:
        """Return the messages of one receive: several light messages, or a heavy message.

        Args:
            pop: Takes the oldest visible message of a class; None if there is none.
            count_max: Light messages at most.
            heavy_has_room: Whether one more heavy message may be in flight.
        """
        sizes = {LIGHT: count_max, HEAVY: 1 if heavy_has_room else 0}
        first, second = (HEAVY, LIGHT) if self._receives % _SHARE == _SHARE - 1 else (LIGHT, HEAVY)
        taken = self._next(pop, first, sizes[first]) or self._next(pop, second, sizes[second])
        self._receives += bool(taken)
        return taken

    def _next(
        self, pop: Callable[[Priority], _T | None], classes: tuple[Priority, Priority], count_max: int
    ) -> list[_T]:
        taken: list[_T] = []
        while len(taken) < count_max:
            is_swapped = self._places[classes] % _SHARE == _SHARE - 1
            first, second = classes[::-1] if is_swapped else classes
            message = pop(first)
            if message is None:
                message = pop(second)
            if message is None:
                break
            self._places[classes] += 1
            taken.append(message)
        return taken
