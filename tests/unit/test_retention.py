"""Retention: which jobs are deleted, in which order, and the effect of a clock that jumps."""

import json
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendDenied, BackendUnavailable
from beholder.job import Job, JobStatus, new_job_id
from beholder.job.ids import job_id_from_key
from beholder.job.job import Result
from beholder.store.keys import dead_letter_key, image_key, resent_key, result_key, text_key
from beholder.store.memory import MemoryStore
from beholder.store.retention import Bounds, Retention, SteadyClock, expired

DAY_S = 86_400.0
WEEK = Bounds(7 * DAY_S, None)


class Buckets:
    """Both buckets in memory, and jobs in them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.images = MemoryStore(clock=self.clock)
        self.results = MemoryStore(clock=self.clock)

    def job(self, *, key: str | None = None, size: int = 100, outcome: bytes | None = b"whole") -> str:
        """Store a job now; its outcome too, unless that is None."""
        now_s = self.clock.now_s()
        job_id = job_id_from_key("", key, epoch_s=0.0) if key else new_job_id(now_s)
        self.images.put(image_key(job_id, "a.jpg"), bytes(size))
        if outcome == b"whole":
            outcome = json.dumps(
                Job(job_id, JobStatus.SUCCEEDED, now_s, result=Result(())).to_dict()
            ).encode()
        if outcome is not None:
            self.results.put(result_key(job_id), outcome)
        return job_id

    def sweep(self, bounds: Bounds = WEEK) -> list[str]:
        """Delete the jobs beyond the bounds, and return their names in order."""
        found = []
        for one in expired(self.images, self.results, bounds, self.clock.now_s()):
            one.delete(self.images, self.results)
            found.append(one.name)
        return found

    def stored(self) -> set[str]:
        return {info.key for store in (self.images, self.results) for info in store.list("")}


@pytest.fixture
def buckets() -> Buckets:
    return Buckets()


def test_a_finished_job_goes_with_all_that_is_stored_of_it(buckets: Buckets) -> None:
    job_id = buckets.job()
    for key in (dead_letter_key(job_id), resent_key(job_id), text_key(job_id)):
        buckets.results.put(key, b"1")
    buckets.clock.advance(7 * DAY_S - 1)
    assert buckets.sweep() == []
    buckets.clock.advance(2)
    assert buckets.sweep() == [job_id]
    assert buckets.stored() == set()


@pytest.mark.parametrize(
    "outcome", [None, b"", bytes(200), b'{"status": "queued"}'], ids=["none", "empty", "0", "no"]
)
def test_a_job_without_a_readable_outcome_is_kept_whatever_its_age(
    buckets: Buckets, outcome: bytes | None
) -> None:
    job_id = buckets.job(outcome=outcome)
    buckets.clock.advance(1000 * DAY_S)
    assert buckets.sweep() == []
    assert buckets.sweep(Bounds(DAY_S, 0)) == []
    assert image_key(job_id, "a.jpg") in buckets.stored()


def test_a_job_that_waited_for_long_is_kept_from_its_outcome_on(buckets: Buckets) -> None:
    job_id = buckets.job(outcome=None)
    buckets.clock.advance(8 * DAY_S)
    job = Job(job_id, JobStatus.SUCCEEDED, buckets.clock.now_s(), result=Result(()))
    buckets.results.put(result_key(job_id), json.dumps(job.to_dict()).encode())
    assert buckets.sweep() == []
    buckets.clock.advance(8 * DAY_S)
    assert buckets.sweep() == [job_id]


def test_the_id_of_an_idempotency_key_tells_no_age(buckets: Buckets) -> None:
    old = buckets.job(key="old")
    buckets.clock.advance(6 * DAY_S)
    young = buckets.job(key="young")
    buckets.clock.advance(2 * DAY_S)
    assert buckets.sweep() == [old]
    assert result_key(young) in buckets.stored()


def test_a_clock_that_was_ahead_when_it_was_stored_keeps_it(buckets: Buckets) -> None:
    buckets.clock.advance(30 * DAY_S)
    job_id = buckets.job()
    buckets.clock.advance(-30 * DAY_S)
    assert buckets.sweep() == []
    assert result_key(job_id) in buckets.stored()


def test_by_bytes_the_oldest_go_until_the_rest_fits(buckets: Buckets) -> None:
    jobs = []
    for number in range(10):
        jobs.append(buckets.job(key=f"key {number}" if number % 3 == 0 else None, size=10_000))
        buckets.clock.advance(10.0)
    waiting = buckets.job(outcome=None, size=10_000)
    size = sum(info.size_bytes for store in (buckets.images, buckets.results) for info in store.list(""))
    assert buckets.sweep(Bounds(None, size)) == []
    assert buckets.sweep(Bounds(None, size - 25_000)) == jobs[:3]
    assert buckets.sweep(Bounds(None, 0)) == jobs[3:]
    assert buckets.stored() == {image_key(waiting, "a.jpg")}


def test_forever_keeps_all(buckets: Buckets) -> None:
    buckets.job()
    buckets.clock.advance(10_000 * DAY_S)
    assert buckets.sweep(Bounds(None, None)) == []


def test_leftovers_of_the_output_bucket_go_by_their_own_age(buckets: Buckets) -> None:
    for key in ("dead/unreadable/abc.bin", "dead/claims/x", "resent/y.json"):
        buckets.results.put(key, b"1")
    for kept in ("fleet/snapshot.json", "results/drop/a/b.jpg", "dead/z.json"):
        buckets.results.put(kept, b"1")
    buckets.clock.advance(8 * DAY_S)
    buckets.sweep()
    assert buckets.stored() == {"fleet/snapshot.json", "results/drop/a/b.jpg", "dead/z.json"}


@pytest.mark.parametrize("dies_at", range(5))
def test_a_process_that_dies_while_it_deletes_leaves_no_job_that_looks_queued(
    buckets: Buckets, dies_at: int
) -> None:
    job_id = buckets.job()
    buckets.clock.advance(8 * DAY_S)
    left = dies_at

    class Dying(MemoryStore):
        def __init__(self, inner: MemoryStore) -> None:
            self._inner = inner

        def delete(self, key: str) -> None:
            nonlocal left
            if left == 0:
                raise BackendUnavailable("store", "delete")
            left -= 1
            self._inner.delete(key)

    (one,) = expired(buckets.images, buckets.results, WEEK, buckets.clock.now_s())
    with pytest.raises(BackendUnavailable):
        one.delete(Dying(buckets.images), Dying(buckets.results))
    assert result_key(job_id) in buckets.stored()
    assert buckets.sweep() == [job_id]
    assert buckets.stored() == set()


def test_a_pass_deletes_a_few_and_a_sweep_all(buckets: Buckets) -> None:
    for _ in range(50):
        buckets.job()
    buckets.clock.advance(8 * DAY_S)
    retention = Retention(buckets.images, buckets.results, WEEK, buckets.clock, elapsed=ManualClock())
    assert [retention.tick(), retention.tick()] == [1.0, 1.0]
    assert len(buckets.stored()) == 20
    assert retention.tick() == 3600.0
    assert buckets.stored() == set()


@pytest.mark.parametrize(("place", "call"), [("images", "delete"), ("results", "delete"), ("results", "get")])
def test_a_job_that_cannot_be_deleted_does_not_keep_the_others(
    buckets: Buckets, place: str, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given: the oldest is refused
    poison = buckets.job()
    for _ in range(30):
        buckets.job()
    store = getattr(buckets, place)
    passed_on = getattr(store, call)

    def refused(key: str) -> Any:
        if poison in key:
            raise BackendDenied("a store", call, key)
        return passed_on(key)

    monkeypatch.setattr(store, call, refused)
    buckets.clock.advance(8 * DAY_S)
    retention = Retention(buckets.images, buckets.results, WEEK, buckets.clock, elapsed=ManualClock())
    # when
    assert [retention.tick(), retention.tick()] == [1.0, 3600.0]
    # then: it is whole or looks finished, all others are gone, and the log says so
    assert {poison in key for key in buckets.stored()} == {True}
    assert result_key(poison) in buckets.stored()
    left = [one for one in caplog.records if getattr(one, "action", "") == "retention.left"]
    assert len(left) == (call == "delete")
    # and: it goes with a later sweep
    monkeypatch.undo()
    retention.tick()
    assert buckets.stored() == set()


def test_a_short_retention_is_swept_often(buckets: Buckets) -> None:
    assert (
        Retention(
            buckets.images, buckets.results, Bounds(10.0, None), buckets.clock, elapsed=ManualClock()
        ).tick()
        == 1.0
    )


# --- a clock that jumps -------------------------------------------------------------------------------------


def steady() -> tuple[SteadyClock, ManualClock, ManualClock]:
    clock, elapsed = ManualClock(), ManualClock(5.0)
    return SteadyClock(clock, elapsed), clock, elapsed


def test_a_clock_that_jumps_ahead_is_not_believed_for_an_hour() -> None:
    believed, clock, elapsed = steady()
    start_s = clock.now_s()
    clock.advance(365 * DAY_S)
    assert believed.now_s() == start_s
    for one in (clock, elapsed):
        one.advance(3000.0)
    assert believed.now_s() == start_s + 3000.0
    clock.advance(-365 * DAY_S)  # set right again
    assert believed.now_s() == start_s + 3000.0
    clock.advance(365 * DAY_S)
    believed.now_s()
    for one in (clock, elapsed):
        one.advance(3600.0)
    assert believed.now_s() == clock.now_s()


@pytest.mark.parametrize("drift_s", [-DAY_S, -1.0, 0.0, 1.0, 59.0])
def test_small_steps_and_steps_back_are_believed(drift_s: float) -> None:
    believed, clock, elapsed = steady()
    elapsed.advance(10.0)
    clock.advance(10.0 + drift_s)
    assert believed.now_s() == clock.now_s()
