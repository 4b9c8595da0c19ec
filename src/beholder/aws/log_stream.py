"""A stream of a log group of CloudWatch Logs, to which lines are written as they come."""

import logging
import queue
from collections.abc import Callable, Iterable
from typing import Any

from beholder.aws.client import AwsClient
from beholder.clock import Clock
from beholder.errors import BackendError
from beholder.telemetry.log import log_event

__all__ = ["LogStream", "collected"]

_log = logging.getLogger(__name__)

# Of one PutLogEvents: 10,000 events and 1 MiB, each event counted with 26 bytes more. Source:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html (2026-11)
_EVENTS_MAX = 1_000
_BYTES_MAX = 800_000
_EVENT_BYTES = 26
_LINE_CHARS_MAX = 50_000
# How long a line waits for others: a request a second costs nothing, and `beholder logs` seems immediate.
_GATHER_S = 1.0
_RETRY_S = 5.0
_EXISTS = ("ResourceAlreadyExistsException",)


class LogStream:
    """Writes lines to a stream, which it makes.

    Args:
        client: Of the service 'logs'.
        group: Name of the log group, which exists.
        stream: Name of the stream.
        clock: Gives each line its time, which is that of its arrival here.
        pause: Waits so many seconds before a call that failed is repeated.
    """

    def __init__(
        self, client: AwsClient, group: str, stream: str, *, clock: Clock, pause: Callable[[float], object]
    ) -> None:
        self._client = client
        self._names = {"logGroupName": group, "logStreamName": stream}
        self._clock = clock
        self._pause = pause
        self._is_made = False

    def write(self, lines: Iterable[str]) -> None:
        """Write lines, again and again until it succeeds; leave out empty lines."""
        at_ms = int(self._clock.now_s() * 1000)
        events = [{"timestamp": at_ms, "message": line[:_LINE_CHARS_MAX]} for line in lines if line.strip()]
        while events:
            try:
                self._put(events)
            except BackendError as exc:
                log_event(_log, logging.WARNING, "log_stream.failed", exc.message)
                self._pause(_RETRY_S)
            else:
                return

    def _put(self, events: list[dict[str, Any]]) -> None:
        if not self._is_made:
            self._client.call("write", "create_log_stream", expected=_EXISTS, **self._names)
            self._is_made = True
        self._client.call("write", "put_log_events", logEvents=events, **self._names)


def collected(lines: "queue.Queue[str | None]", clock: Clock) -> list[str] | None:
    """Wait for a line, and return the lines of one request; None after the last line.

    Args:
        lines: Ends with None.
        clock: Tells how long the first line has waited.
    """
    line = lines.get()
    if line is None:
        return None
    found, size_bytes, until_s = [line], len(line.encode()), clock.now_s() + _GATHER_S
    while len(found) < _EVENTS_MAX and size_bytes < _BYTES_MAX:
        try:
            line = lines.get(timeout=max(0.0, until_s - clock.now_s()))
        except queue.Empty:
            break
        if line is None:
            lines.put(None)
            break
        found.append(line)
        size_bytes += len(line.encode()) + _EVENT_BYTES
    return found
