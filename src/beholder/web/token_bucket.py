"""What one caller may send in a minute."""

import math
from dataclasses import dataclass

from starlette.types import Scope

from beholder.clock import Clock

__all__ = ["TokenBucket", "token_bucket_of"]

_WINDOW_S = 60.0
_ROUNDING = 1e-6


@dataclass(slots=True)
class TokenBucket:
    """A token bucket: `per_minute` images may be sent at once, and come back evenly within a minute.

    Args:
        per_minute: Images, or other requests that write, in a minute.
        clock: A time that nobody sets.
        whole_at_s: When all of them are there again.
    """

    per_minute: int
    clock: Clock
    whole_at_s: float = -math.inf

    @property
    def left(self) -> int:
        """How many may be sent now."""
        missing_s = max(0.0, self.whole_at_s - self.clock.now_s())
        return max(0, math.floor((_WINDOW_S - missing_s) * self.per_minute / _WINDOW_S + _ROUNDING))

    @property
    def wait_s(self) -> int:
        """After how many seconds, at least 1, another one may be sent."""
        missing_s = self.whole_at_s - self.clock.now_s()
        return max(1, math.ceil(missing_s + _WINDOW_S / self.per_minute - _WINDOW_S - _ROUNDING))

    def take(self, count: int) -> None:
        """Take so many, even if fewer are there: the caller then waits the longer."""
        self.whole_at_s = max(self.whole_at_s, self.clock.now_s()) + count * _WINDOW_S / self.per_minute

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of an answer.

        Source: draft-ietf-httpapi-ratelimit-headers-10; `t` is when the whole bucket is there again.
        """
        reset_s = max(0, math.ceil(self.whole_at_s - self.clock.now_s()))
        return [
            (b"ratelimit-policy", b'"caller";q=%d;w=%d' % (self.per_minute, _WINDOW_S)),
            (b"ratelimit", b'"caller";r=%d;t=%d' % (self.left, reset_s)),
        ]


def token_bucket_of(scope: Scope) -> TokenBucket | None:
    """Return the bucket of a request's caller; None if it may send any number."""
    return scope.get("token_bucket")
