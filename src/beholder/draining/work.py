"""What a worker has done, from which its idle time is computed."""

from dataclasses import dataclass

__all__ = ["WorkDone"]


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What a worker has done since its start.

    Args:
        busy_s: How long it held messages.
        messages: How many messages it has finished with, whatever became of them.
        first_sent_at_s: When its first message was sent, seconds since the Unix epoch; None before it.
    """

    busy_s: float = 0.0
    messages: int = 0
    first_sent_at_s: float | None = None
