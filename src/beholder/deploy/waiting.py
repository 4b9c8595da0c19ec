"""How the commands that change a deployment wait for AWS, and tell what they do."""

from collections.abc import Callable

from beholder.clock import Clock

__all__ = ["Waiting"]

_POLL_S = 3.0


class Waiting:
    """Waits by polling, and tells once what it waits for.

    Args:
        clock: Tells how long a wait has taken.
        pause: Waits so many seconds.
        tell: Takes each line of progress.
    """

    def __init__(self, clock: Clock, pause: Callable[[float], object], tell: Callable[[str], None]) -> None:
        self._clock = clock
        self.pause = pause
        self.tell = tell

    def now_s(self) -> float:
        """Return the time, in seconds since the Unix epoch."""
        return self._clock.now_s()

    def until(self, what: str, holds: Callable[[], bool], *, most_s: float) -> bool:
        """Wait until something holds, and return whether it does.

        Args:
            what: Such as 'the stack is deleted'; told if it does not hold at once.
            holds: Asked every three seconds; what it raises ends the wait.
            most_s: The longest wait.
        """
        deadline_s = self._clock.now_s() + most_s
        is_told = False
        while not holds():
            if self._clock.now_s() >= deadline_s:
                return False
            if not is_told:
                self.tell(f"waiting until {what}")
                is_told = True
            self.pause(_POLL_S)
        return True
