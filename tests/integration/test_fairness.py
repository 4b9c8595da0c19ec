"""One caller's bulk does not shut out others; told by what was done in which order, not by seconds."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from helpers.flood import Flood
from helpers.images import jpeg, png
from helpers.service import RunningService

WORKERS = 2
BATCH_MAX = 4

pytestmark = pytest.mark.slow


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    settings = {"workers": WORKERS, "workers_min": WORKERS, "batch_max": BATCH_MAX, "backlog_max": 160}
    with RunningService(tmp_path, **settings) as running:
        running.classify(jpeg(0))  # a worker is there
        yield running


def done_between(service: RunningService, begin: str, end: str) -> list[str]:
    """Return the jobs of others whose outcome came between two times of job objects."""
    found = []
    for path in (service.data_dir / "buckets").glob("*-output-bucket/results/*.json"):
        job = json.loads(path.read_text())
        if begin < job["completed_at"] < end:
            found.append(job["id"])
    return found


def test_an_interactive_caller_waits_for_batches_and_not_for_the_backlog_of_a_bulk_client(
    service: RunningService,
) -> None:
    with Flood(service, [jpeg(n) for n in range(8)], connections=4, prefer="respond-async") as bulk:
        bulk.await_replies(503, 1)  # the bulk client fills its share, and goes on
        # when
        jobs = []
        for number in range(10):
            accepted = bulk.count(202)
            reply = service.classify(jpeg(100 + number))
            # then: whatever is said to the bulk client, the interactive one gets its answer
            assert reply.status == 200, reply.body
            jobs.append(reply.json)
        # and the bulk client goes on being accepted
        bulk.await_replies(202, accepted + 1)
    refusals = [reply for reply in bulk.replies if reply.status == 503]
    assert refusals
    assert all(1 <= int(reply.headers["retry-after"]) <= 60 for reply in refusals)
    # The batches in hand when it came, its own, and as many again for what is written before and after.
    bound = 4 * WORKERS * BATCH_MAX
    between = [len(done_between(service, job["created_at"], job["completed_at"])) for job in jobs]
    assert sorted(between)[len(between) // 2] <= bound, between
    assert max(between) <= 2 * bound, between


def test_a_bulk_client_that_waits_for_a_second_each_time_keeps_nobody_out(service: RunningService) -> None:
    with Flood(service, [jpeg(n) for n in range(8)], connections=100, prefer="wait=1") as bulk:
        bulk.await_replies(200, 1)
        replies = [service.classify(jpeg(100 + number)) for number in range(5)]
    assert [reply.status for reply in replies] == [200] * 5


def test_a_bulk_client_gets_its_share_while_interactive_callers_never_pause(service: RunningService) -> None:
    # given: jobs that nobody waits for
    ids = [service.classify(jpeg(n), prefer="respond-async").json["id"] for n in range(40)]
    # when: more callers at once than the workers take in a batch
    with Flood(service, [jpeg(n) for n in range(8)], connections=3 * WORKERS * BATCH_MAX) as callers:
        callers.await_replies(200, 240)
        # then: a fourth of what is done would be 60 and more
        done = [service.get(f"/v1/jobs/{job_id}").json["status"] for job_id in ids]
    assert done == ["succeeded"] * 40
    assert callers.count(503) == 0


def test_a_small_photo_passes_huge_ones(service: RunningService) -> None:
    # given: huge images, of which as many are in hand as may be
    huge = png(5000, 5000)
    heavy = 6
    with ThreadPoolExecutor(heavy) as pool:
        waiting = [pool.submit(service.classify, huge) for _ in range(heavy)]
        deadline_s = time.monotonic() + 60
        while b'state="in_flight"} 1.0' not in service.get("/metrics").body:
            assert time.monotonic() < deadline_s
        # when
        small = service.classify(jpeg(1))
        unfinished = sum(not one.done() for one in waiting)
        replies = [one.result() for one in waiting]
    # then: a core was free for it, so at most two of the huge ones came to their end meanwhile
    assert small.status == 200
    assert unfinished >= heavy - 3
    ends = sorted(reply.json["completed_at"] for reply in replies)
    assert small.json["completed_at"] < ends[3]
    # and no two of them were decoded at once
    spans = sorted((reply.json["started_at"], reply.json["completed_at"]) for reply in replies)
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans


def test_with_one_worker_a_small_photo_waits_for_two_huge_ones_at_most(tmp_path: Path) -> None:
    with RunningService(tmp_path, workers=1, workers_min=1) as service:
        service.classify(jpeg(0))
        huge = png(5000, 5000)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(service.classify, huge) for _ in range(4)]
            deadline_s = time.monotonic() + 60
            while b'state="in_flight"} 1.0' not in service.get("/metrics").body:
                assert time.monotonic() < deadline_s
            small = service.classify(jpeg(1))
            replies = [one.result() for one in waiting]
        assert [reply.status for reply in (small, *replies)] == [200] * 5
        before = sum(reply.json["completed_at"] < small.json["completed_at"] for reply in replies)
        assert before <= 2
