"""How many requests a caller may send in a minute, and what it is told."""

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.api_keys import KeyScope, KnownKeys, create_key
from beholder.clock import ManualClock
from beholder.errors import RateLimited
from beholder.store.memory import MemoryStore
from beholder.web.limits import WebLimits
from beholder.web.rate_limit import RateLimit
from beholder.web.token_bucket import TokenBucket
from helpers.images import jpeg
from helpers.web import Ask, ask, memory_ports

ASYNC = {"prefer": "respond-async"}


async def app(*_: Any) -> None:
    """Serve any request."""


class Callers:
    """What a `RateLimit` lets through."""

    def __init__(self, per_minute: int | None) -> None:
        self.now = ManualClock()
        self.limit = RateLimit(app, per_minute, self.now)

    def send(self, host: str | None, method: str = "POST", path: str = "/upload", **more: Any) -> int:
        """Send a request; return 0, or what Retry-After is."""
        client = None if host is None else (host, 1)
        scope = {"type": "http", "method": method, "path": path, "client": client, **more}
        try:
            asyncio.run(self.limit(scope, app, app))
        except RateLimited as exc:
            return exc.retry_after_s
        return 0


def test_a_minutes_number_may_come_at_once_and_then_evenly() -> None:
    callers = Callers(6)
    assert [callers.send("10.0.0.1") for _ in range(8)] == [0, 0, 0, 0, 0, 0, 10, 10]
    callers.now.advance(10)
    assert [callers.send("10.0.0.1") for _ in range(2)] == [0, 10]
    callers.now.advance(60)
    assert [callers.send("10.0.0.1") for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]


@given(
    per_minute=st.integers(1, 1_000_000),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 40)), max_size=30),
)
def test_no_minute_has_more_than_twice_the_number_and_retry_after_is_enough(
    per_minute: int, steps: list[tuple[float, int]]
) -> None:
    now, sent_at = ManualClock(), list[float]()
    bucket = TokenBucket(per_minute, now)
    for pause_s, tries in steps:
        now.advance(pause_s)
        for _ in range(tries):
            if bucket.left:
                bucket.take(1)
                sent_at.append(now.now_s())
            else:
                later = ManualClock(now.now_s() + bucket.wait_s)
                assert TokenBucket(per_minute, later, bucket.whole_at_s).left >= 1
        recent = [at_s for at_s in sent_at if at_s > now.now_s() - 60]
        assert len(recent) <= 2 * per_minute
        assert 0 <= bucket.left <= per_minute


def test_each_address_is_a_caller_and_a_network_of_ipv6_is_one() -> None:
    callers = Callers(1)
    assert not callers.send("10.0.0.1")
    assert not callers.send("10.0.0.2")
    assert callers.send("10.0.0.1")
    assert not callers.send("2001:db8::1")
    assert callers.send("2001:db8::2")
    assert not callers.send("2001:db8:0:1::1")
    assert not callers.send("fe80::1%eth0")
    assert not callers.send(None)
    assert callers.send(None)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/jobs/x"), ("HEAD", "/"), ("GET", "/metrics"), ("PUT", "/v1/models/default")],
)
def test_what_reads_or_operates_is_not_counted(method: str, path: str) -> None:
    callers = Callers(1)
    assert not any(callers.send("10.0.0.1", method, path) for _ in range(3))
    assert not callers.send("10.0.0.1")


def test_callers_who_have_gone_take_no_memory() -> None:
    callers = Callers(60)
    loop = asyncio.new_event_loop()
    for number in range(25_000):
        scope = {"type": "http", "method": "POST", "path": "/", "client": (str(number), 1)}
        loop.run_until_complete(callers.limit(scope, app, app))
    loop.close()
    assert len(callers.limit._by_caller) <= 10_000
    # those who came last are known still
    assert [callers.send("24999") for _ in range(60)] == [0] * 59 + [1]


def test_a_caller_is_told_its_quota_and_refused_before_its_body_is_read() -> None:
    ports = memory_ports(limits=WebLimits(requests_per_minute_max=2))
    one = Ask("POST", "/v1/classify", jpeg(1), ASYNC)
    answers = ask(ports, one, one, one, Ask("GET", "/v1/limits"))
    assert [one.status for one in answers] == [202, 202, 429, 200]
    assert [one.headers.get("ratelimit") for one in answers] == [
        '"caller";r=1;t=30',
        '"caller";r=0;t=60',
        '"caller";r=0;t=60',
        None,
    ]
    assert {one.headers.get("ratelimit-policy") for one in answers[:3]} == {'"caller";q=2;w=60'}
    refused = answers[2]
    assert refused.json["code"] == "rate_limited"
    assert refused.headers["retry-after"] == "30"
    assert refused.chunks_read == 0
    assert answers[3].json["requests_per_minute_max"] == 2


def test_each_image_of_a_form_counts_and_the_caller_waits_for_those_beyond_its_bucket_of() -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n%s\r\n' % jpeg(1)
    form = Ask(
        "POST",
        "/v1/classify",
        part * 5 + b"--b--\r\n",
        {"content_type": "multipart/form-data; boundary=b", **ASYNC},
    )
    answers = ask(memory_ports(limits=WebLimits(requests_per_minute_max=3)), form, form)
    assert [one.status for one in answers] == [202, 429]
    assert len(answers[0].json["items"]) == 5
    assert answers[1].headers["retry-after"] == "60"


def test_a_key_has_its_own_number_or_that_of_the_setting() -> None:
    store = MemoryStore()

    def key(per_minute: int | None) -> str:
        made = create_key(store, name="a", scopes=[KeyScope.WRITE], now_s=0.0, per_minute=per_minute)
        return f"Bearer {made.text}"

    ports = memory_ports(keys=KnownKeys(store, ManualClock()), limits=WebLimits(requests_per_minute_max=2))
    statuses = {
        number: [
            answer.status
            for answer in ask(
                ports,
                *[Ask("POST", "/v1/classify", jpeg(1), {"authorization": text, **ASYNC})] * 4,
            )
        ]
        for number, text in [(number, key(number)) for number in (1, 3, None)]
    }
    assert statuses == {1: [202, 429, 429, 429], 3: [202, 202, 202, 429], None: [202, 202, 429, 429]}


def test_without_a_limit_nothing_is_said() -> None:
    (answer,) = ask(memory_ports(), Ask("POST", "/v1/classify", jpeg(1), ASYNC))
    assert "ratelimit" not in answer.headers
    assert math.isinf(TokenBucket(1, ManualClock()).whole_at_s)
