"""Whose turn it is: which of the waiting messages a receive takes, where several classes of them wait.

Interactive messages go first, and each fourth place is offered to asynchronous ones, so that neither
starves. Heavy messages come alone, so that no light one waits in the batch of a heavy one; while both wait,
each fourth receive is a heavy one's.
"""

from collections.abc import Callable
from typing import TypeVar

from beholder.queue.port import Priority

__all__ = ["HEAVY", "LIGHT", "PRIORITIES", "Turns"]

_T = TypeVar("_T")

# One in so many is for those who otherwise come second.
_SHARE = 4
LIGHT = (Priority.INTERACTIVE, Priority.ASYNCHRONOUS)
HEAVY = (Priority.INTERACTIVE | Priority.HEAVY, Priority.ASYNCHRONOUS | Priority.HEAVY)
PRIORITIES = (*LIGHT, *HEAVY)


class Turns:
    """The turns of one receiver; used by one thread at a time.

    Each receiver counts for itself: where every one of them keeps the share, all together do.
    """

    def __init__(self) -> None:
        self._receives = 0
        self._places = {LIGHT: 0, HEAVY: 0}

    def take(self, pop: Callable[[Priority], _T | None], *, count_max: int, heavy_has_room: bool) -> list[_T]:
        """Return what one receive takes: several light messages, or one heavy one.

        Args:
            pop: Takes the oldest visible message of a class, None where there is none.
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
            is_turned = self._places[classes] % _SHARE == _SHARE - 1
            first, second = classes[::-1] if is_turned else classes
            one = pop(first)
            if one is None:
                one = pop(second)
            if one is None:
                break
            self._places[classes] += 1
            taken.append(one)
        return taken
