"""Reads the log of a deployment: what its web processes and workers wrote, each line once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beholder.deploy.account import Account

__all__ = ["LogLine", "LogReader", "log_group", "stream_prefixes"]

ROLES = ("web", "worker")
# An instance sends lines a second after they were written, and repeats what failed after five; so much later
# may a line appear, and before others that were shown.
_LATE_MS_MAX = 60_000


@dataclass(frozen=True)
class LogLine:
    """One line.

    Args:
        at_s: When the instance passed it on, seconds since the Unix epoch.
        stream: `<role>/<instance id>`.
        text: As the process wrote it.
    """

    at_s: float
    stream: str
    text: str


def log_group(name: str) -> str:
    """Return the name of a deployment's log group."""
    return f"/beholder/{name}"


def stream_prefixes(role: str | None, instance: str | None) -> list[str]:
    """Return with what the names of streams begin; nothing for all streams.

    Args:
        role: 'web' or 'worker'; None for both.
        instance: Id of an instance; None for all.
    """
    if role is None and instance is None:
        return [""]
    return [f"{one}/{instance or ''}" for one in ROLES if role in {None, one}]


class LogReader:
    """Reads lines as they come; `read` returns those that are new.

    A line may come late, and then has an older time than lines that were returned before. So each call asks
    for the last minute again, and knows the returned lines by their ids.

    Args:
        account: The account and region.
        group: The log group.
        prefixes: As `stream_prefixes` returns them.
        since_s: The time of the first line, seconds since the Unix epoch.
    """

    def __init__(self, account: Account, group: str, prefixes: Sequence[str], since_s: float) -> None:
        self._account = account
        self._group = group
        self._prefixes = prefixes
        self._from_ms = int(since_s * 1000)
        self._returned: dict[str, int] = {}

    def read(self) -> Iterator[LogLine]:
        """Yield the lines that are new, in the order of their times as far as they are there.

        Raises:
            BackendError: CloudWatch Logs refuses, or does not answer; the next call yields what is missing.
        """
        newest_ms = 0
        for prefix in self._prefixes:
            for event in self._events(prefix):
                newest_ms = max(newest_ms, event["timestamp"])
                if event["eventId"] not in self._returned:
                    self._returned[event["eventId"]] = event["timestamp"]
                    yield LogLine(event["timestamp"] / 1000, event["logStreamName"], event["message"])
        # Only once all was read: a call that failed has not seen every line up to the newest.
        self._from_ms = max(self._from_ms, newest_ms - _LATE_MS_MAX)
        self._returned = {one: at_ms for one, at_ms in self._returned.items() if at_ms >= self._from_ms}

    def _events(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Yield the events of all pages; a page may be empty and not the last.

        Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
        (2026-11)
        """
        more: dict[str, Any] = {"logStreamNamePrefix": prefix} if prefix else {}
        while True:
            page = self._account.call(
                "logs", "filter_log_events", logGroupName=self._group, startTime=self._from_ms, **more
            )
            # Emulators give the events of all streams.
            yield from (one for one in page["events"] if one["logStreamName"].startswith(prefix))
            if not page.get("nextToken"):
                return
            more["nextToken"] = page["nextToken"]
