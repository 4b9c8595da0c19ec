"""Each line of a deployment's log is printed once: however late, on any page, after any failure."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.cli.logs import _text
from beholder.deploy.logs import LogLine, LogReader, stream_prefixes
from beholder.errors import BackendUnavailable

NOW_MS = 1_772_366_400_000
LATE_MS = 60_000


class CloudWatch:
    """An account whose log group gives its events in small pages, some of them empty, and may fail."""

    def __init__(self, page: int = 2) -> None:
        self.events: list[dict[str, Any]] = []
        self.page = page
        self.failing_calls: set[int] = set()
        self.calls = 0

    def add(self, at_ms: int, stream: str = "web/i-1") -> str:
        event_id = str(len(self.events))
        self.events.append(
            {"eventId": event_id, "timestamp": at_ms, "logStreamName": stream, "message": event_id}
        )
        return event_id

    def call(self, service: str, action: str, **given: Any) -> dict[str, Any]:
        assert (service, action, given["logGroupName"]) == ("logs", "filter_log_events", "/beholder/zoo")
        self.calls += 1
        if self.calls in self.failing_calls:
            raise BackendUnavailable("logs", action)
        prefix, start = given.get("logStreamNamePrefix", ""), int(given.get("nextToken", 0))
        found = [
            one
            for one in sorted(self.events, key=lambda event: event["timestamp"])
            if one["timestamp"] >= given["startTime"] and one["logStreamName"].startswith(prefix)
        ]
        # Every other page is empty, as CloudWatch's may be.
        if start % 2:
            return {"events": [], "nextToken": str(start + 1)}
        first = start // 2 * self.page
        page = {"events": found[first : first + self.page]}
        is_last = first + self.page >= len(found)
        return page if is_last else {**page, "nextToken": str(start + 1)}


def reader(cloud: CloudWatch, prefixes: Sequence[str] = ("",)) -> LogReader:
    return LogReader(cloud, "/beholder/zoo", prefixes, NOW_MS / 1000)  # type: ignore[arg-type]


def texts(found: LogReader) -> list[str]:
    return [line.text for line in found.read()]


@pytest.mark.parametrize(
    ("role", "instance", "prefixes"),
    [
        (None, None, [""]),
        ("web", None, ["web/"]),
        (None, "i-1", ["web/i-1", "worker/i-1"]),
        ("worker", "i-1", ["worker/i-1"]),
    ],
)
def test_the_streams_of_a_role_and_an_instance(
    role: str | None, instance: str | None, prefixes: list[str]
) -> None:
    assert stream_prefixes(role, instance) == prefixes


def test_lines_before_the_time_are_left_out_and_those_at_it_are_not() -> None:
    cloud = CloudWatch()
    cloud.add(NOW_MS - 1)
    first = cloud.add(NOW_MS)

    assert texts(reader(cloud)) == [first]


def test_lines_of_the_same_millisecond_on_both_sides_of_a_page_come_once() -> None:
    cloud = CloudWatch(page=2)
    added = [cloud.add(NOW_MS) for _ in range(5)]
    following = reader(cloud)

    assert texts(following) == added
    assert texts(following) == []
    added = [cloud.add(NOW_MS)]
    assert texts(following) == added


def test_a_call_that_failed_loses_no_line_of_another_stream() -> None:
    """The web tier's lines are new when the call for the workers' fails; those are an hour older."""
    cloud = CloudWatch(page=100)
    new = cloud.add(NOW_MS + 3_600_000, "web/i-1")
    old = cloud.add(NOW_MS, "worker/i-1")
    following = reader(cloud, ["web/i-1", "worker/i-1"])
    cloud.failing_calls = {2}
    seen: list[str] = []

    with pytest.raises(BackendUnavailable):
        seen.extend(line.text for line in following.read())
    seen += texts(following)

    assert seen == [new, old]


_ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 200_000),  # when it was written
        st.integers(0, LATE_MS // 2),  # how much later it can be read
        st.sampled_from(["web/i-1", "worker/i-2"]),
    ),
    max_size=30,
)


@given(_ARRIVALS, st.integers(1, 4), st.sets(st.integers(1, 40)), st.booleans())
def test_every_line_is_printed_once(
    arrivals: list[tuple[int, int, str]],
    page: int,
    failing: set[int],
    by_instance: bool,  # noqa: FBT001
) -> None:
    cloud = CloudWatch(page)
    cloud.failing_calls = failing
    following = reader(cloud, ["web/i", "worker/i"] if by_instance else [""])
    waiting = sorted(arrivals, key=lambda one: one[0] + one[1])
    printed: list[str] = []

    def read() -> None:
        with suppress(BackendUnavailable):
            printed.extend(line.text for line in following.read())

    for at_ms, _, stream in waiting:
        cloud.add(NOW_MS + at_ms, stream)
        read()
    cloud.failing_calls = set()
    read()

    assert sorted(printed) == sorted(one["eventId"] for one in cloud.events)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '{"at": 1, "level": "info", "process": "w", "action": "worker.ready", "message": "up", "n": 1}',
            "worker.ready: up n=1",
        ),
        ('{"level": "warning", "action": "a.b", "message": "\\u001b[2J"}', "a.b: warning: \\x1b[2J"),
        ("Traceback (most recent call last):\n", "Traceback (most recent call last):"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ('["no", "object"]', '["no", "object"]'),
    ],
)
def test_a_line_is_shown_as_text_that_no_terminal_obeys(text: str, shown: str) -> None:
    assert _text(LogLine(NOW_MS / 1000, "web/i-1", text)) == f"2026-03-01T12:00:00Z web/i-1 {shown}"
