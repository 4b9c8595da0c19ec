"""Pages of jobs against a sorted list: whatever the ids, and whatever comes and goes between the pages."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.clock import ManualClock
from beholder.job.ids import job_id_from_key
from beholder.store.keys import image_key
from beholder.store.memory import MemoryStore
from beholder.store.newest import id_at, newest_first
from beholder.store.port import ObjectInfo
from beholder.web.submission.job_list import EXAMINED_MAX, JobLister, JobQuery
from beholder.web.submission.lookup import JobLookup
from helpers.web import memory_ports

NOW_S = ManualClock().now_s()
HOUR_S, WEEK_S = 3600.0, 604_800.0
AGES = st.one_of(st.floats(0, 5), st.floats(0, WEEK_S), st.sampled_from([0.0, 60.0, 480.0]))
ADDED = st.lists(st.tuples(st.integers(0, 5), AGES), max_size=10)


def job_ids(ages: list[float], keyed: int) -> list[str]:
    """Return ids of these ages, and some of idempotency keys, all different."""
    timed = [job_id_from_key("", str(place), epoch_s=NOW_S - age) for place, age in enumerate(ages)]
    return timed + [job_id_from_key("", str(one), epoch_s=0.0) for one in range(keyed)]


class Counted(MemoryStore):
    """Counts listings, as S3 does: one for each 1,000 keys that are read."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(clock=ManualClock())
        self.lists = 0
        for job_id in ids:
            self.put(image_key(job_id, "a.jpg"), b"x")

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        if prefix != "images/":
            yield from super().list(prefix, after=after)
            return
        for place, info in enumerate(super().list(prefix, after=after)):
            self.lists += place % 1000 == 0
            yield info


@settings(max_examples=150, deadline=None)
@given(st.lists(AGES, max_size=40), st.integers(0, 20), st.none() | AGES)
def test_ids_come_highest_first_and_each_once(ages: list[float], keyed: int, since_age: float | None) -> None:
    ids = job_ids(ages, keyed)
    since = "" if since_age is None else id_at(NOW_S - since_age)
    found = list(newest_first(Counted(ids), now_s=NOW_S, since=since))
    assert found == sorted((one for one in ids if one >= since), reverse=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(AGES, max_size=30), st.integers(0, 10), st.integers(1, 7), ADDED)
def test_pages_miss_and_repeat_nothing_that_stays(
    ages: list[float], keyed: int, count: int, added: list[tuple[int, float]]
) -> None:
    # given: jobs, of which some are deleted and to which some are added between the pages
    ids = job_ids(ages, keyed)
    store = Counted(ids)
    ports = memory_ports(images=store)
    lister = JobLister(store, JobLookup(ports), map, ManualClock())
    doomed, seen, cursor = set(ids[::3]), list[str](), None
    for page_number in range(len(ids) + len(added) + 2):
        page = lister.page(JobQuery(count, cursor))
        assert len(page.jobs) <= count
        seen += [job.id for job in page.jobs]  # type: ignore[union-attr]
        cursor = page.next
        if cursor is None:
            break
        for at_page, age in added:
            if at_page == page_number:
                store.put(image_key(job_id_from_key("new", str(age), epoch_s=NOW_S - age), "a.jpg"), b"x")
        for job_id in list(doomed)[:1]:
            doomed.discard(job_id)
            store.delete(image_key(job_id, "a.jpg"))
    assert cursor is None
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen))
    assert set(ids) - set(ids[::3]) <= set(seen)


POPULATIONS = {
    "20 a second for an hour": [place / 20 for place in range(72_000)],
    "all within a second of last week": [WEEK_S - place / 50_000 for place in range(50_000)],
    "one a day": [place * 86_400.0 for place in range(7)],
    "none": [],
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_a_page_costs_a_bounded_number_of_listings(name: str) -> None:
    store = Counted(job_ids(POPULATIONS[name], 0))
    found = newest_first(store, now_s=NOW_S)
    for _, _ in zip(range(100), found, strict=False):
        pass
    assert store.lists <= 32


def test_a_page_of_keyed_jobs_costs_few_listings() -> None:
    store = Counted(job_ids([], 50_000))
    found = newest_first(store, now_s=NOW_S)
    first = [job_id for _, job_id in zip(range(100), found, strict=False)]
    assert len(first) == 100
    assert first == sorted(first, reverse=True)
    assert store.lists <= 20


def test_a_filter_that_matches_nothing_looks_at_so_many_jobs_and_goes_on() -> None:
    ids = job_ids([float(place) for place in range(EXAMINED_MAX + 50)], 0)
    store = Counted(ids)
    lister = JobLister(store, JobLookup(memory_ports(images=store)), map, ManualClock())
    first = lister.page(JobQuery(20, label="cat"))
    assert first.jobs == ()
    behind = sum(job_id < str(first.next) for job_id in ids)
    assert behind == 50
    assert lister.page(JobQuery(20, first.next, label="cat")).next is None
