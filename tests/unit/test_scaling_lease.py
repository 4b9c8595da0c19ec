"""The lease on a real store adapter, step by step."""

from beholder.clock import ManualClock
from beholder.scaling.lease import LEASE_PREFIX, StoreLease
from beholder.store import MemoryStore


def terms(store: MemoryStore) -> list[str]:
    return [one.key.removeprefix(LEASE_PREFIX) for one in store.list(LEASE_PREFIX)]


def test_the_first_to_ask_leads_and_the_second_follows() -> None:
    store, clock = MemoryStore(), ManualClock()
    first, second = StoreLease(store, "a", clock), StoreLease(store, "b", clock)
    assert first.hold()
    assert not second.hold()
    assert first.is_held()
    assert not second.is_held()


def test_a_holder_renews_and_old_terms_are_deleted() -> None:
    store, clock = MemoryStore(), ManualClock()
    lease = StoreLease(store, "a", clock, period_s=10)
    for _ in range(200):
        assert lease.hold()
        clock.advance(2.5)
    assert len(terms(store)) <= 16


def test_a_follower_takes_over_from_one_that_is_gone() -> None:
    store, clock = MemoryStore(), ManualClock()
    first, second = StoreLease(store, "a", clock, period_s=10), StoreLease(store, "b", clock, period_s=10)
    assert first.hold()
    waited_s = 0.0
    while not second.hold():
        clock.advance(second.poll_s)
        waited_s += second.poll_s
    assert 20 < waited_s <= 30
    # and: the first one, back again, follows
    assert not first.is_held()
    assert not first.hold()


def test_a_lease_that_is_released_is_taken_at_once() -> None:
    store, clock = MemoryStore(), ManualClock()
    first, second = StoreLease(store, "a", clock), StoreLease(store, "b", clock)
    first.hold()
    second.hold()
    first.release()
    assert not first.is_held()
    assert second.hold()


def test_a_term_ends_by_itself_where_the_holder_stops_renewing() -> None:
    store, clock = MemoryStore(), ManualClock()
    lease = StoreLease(store, "a", clock, period_s=10)
    lease.hold()
    clock.advance(17.4)
    assert lease.is_held()
    clock.advance(0.2)
    assert not lease.is_held()
