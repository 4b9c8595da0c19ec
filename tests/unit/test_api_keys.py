"""API keys: how they are made, and what a web process knows of them when keys or the store change."""

import asyncio
import itertools
import logging
import threading
from collections.abc import Iterator

import pytest

from beholder.api_keys import ApiKey, KeyScope, KnownKeys, create_key, list_keys, revoke_key
from beholder.api_keys.known import _KNOWN_AGE_S_MAX, _OUTAGE_AGE_S_MAX, _UNKNOWN_AGE_S_MAX
from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable, BadParameter
from beholder.store.memory import MemoryStore
from beholder.store.port import ObjectInfo

NOW_S = 1_800_000_000.0
WRONG = b"bhk_" + b"0" * 12 + b"_" + b"1" * 64


class CountingStore(MemoryStore):
    """Counts listings and gets; may be down, or hang until `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = self.gets = 0
        self.is_down = False
        self.answers = threading.Event()
        self.answers.set()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.lists += 1
        self.answers.wait(30)
        if self.is_down:
            raise BackendUnavailable("store", "list")
        return super().list(prefix)

    def get(self, key: str) -> bytes:
        self.gets += 1
        return super().get(key)


def made(store: MemoryStore, *, expires_at_s: float | None = None, name: str = "phone") -> bytes:
    scopes = [KeyScope.WRITE, KeyScope.READ]
    return create_key(store, name=name, scopes=scopes, now_s=NOW_S, expires_at_s=expires_at_s).text.encode()


# --- records ------------------------------------------------------------------------------------------------


def test_a_new_key_has_256_random_bits_that_its_record_lacks() -> None:
    store = MemoryStore()
    tokens = map(str, itertools.count(1))
    drawn: list[int] = []

    def token(count: int) -> str:
        drawn.append(count)
        return next(tokens) * (2 * count)

    new = create_key(store, name=" phone ", scopes=[KeyScope.WRITE, KeyScope.READ], now_s=NOW_S, token=token)

    assert drawn == [6, 32]
    assert new.text == "bhk_" + "1" * 12 + "_" + "2" * 64
    (info,) = store.list("")
    stored = store.get(info.key)
    assert info.key == "keys/111111111111.json"
    assert b"2" * 64 not in stored
    assert list(list_keys(store)) == [new.record]
    assert (new.record.name, new.record.scopes) == ("phone", (KeyScope.READ, KeyScope.WRITE))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65])
def test_a_name_is_short_and_printable(name: str) -> None:
    store = MemoryStore()
    with pytest.raises(BadParameter):
        made(store, name=name)
    assert list(store.list("")) == []


@pytest.mark.parametrize("key_id", ["", "../results/x", "0" * 12, "0" * 11])
def test_revoking_what_is_no_key_says_so(key_id: str) -> None:
    assert not revoke_key(MemoryStore(), key_id)


def test_an_object_that_is_no_record_counts_as_none(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    for number, data in enumerate((b"", b"[]", b"{}", b'{"id": 1}', b"\xff")):
        store.put(f"keys/{number}.json", data)
    key = made(store)

    assert len(list(list_keys(store))) == 1
    with caplog.at_level(logging.WARNING):
        assert asyncio.run(KnownKeys(store, ManualClock()).find(key)) is not None
    assert [record.__dict__["action"] for record in caplog.records] == ["keys.unreadable"] * 5


# --- what a web process knows -------------------------------------------------------------------------------


def find(known: KnownKeys, *texts: bytes) -> list[ApiKey | None]:
    async def all_of_them() -> list[ApiKey | None]:
        return [await known.find(text) for text in texts]

    return asyncio.run(all_of_them())


def test_a_key_is_found_by_its_whole_text_only() -> None:
    store = CountingStore()
    key = made(store)
    other = made(store)
    known = KnownKeys(store, ManualClock())

    assert [one and one.name for one in find(known, key)] == ["phone"]
    mixed = key[:17] + other[17:]
    wrong = (mixed, key[:-1], key + b"0", key.upper(), key[4:], b"", b"\xff" * 81, WRONG)
    assert find(known, *wrong) == [None] * len(wrong)


def test_a_request_costs_the_store_nothing_while_the_records_are_fresh() -> None:
    store, clock = CountingStore(), ManualClock()
    keys = [made(store) for _ in range(3)]
    known = KnownKeys(store, clock)

    find(known, *keys * 100)
    assert (store.lists, store.gets) == (1, 3)
    clock.advance(_KNOWN_AGE_S_MAX)
    find(known, *keys * 100)
    assert (store.lists, store.gets) == (2, 3)


def test_wrong_keys_cost_a_listing_a_second_however_many() -> None:
    store, clock = CountingStore(), ManualClock()
    made(store)
    known = KnownKeys(store, clock)
    wrong = [b"bhk_%012x_%064x" % (number, number) for number in range(1000)]

    assert find(known, *wrong) == [None] * 1000
    assert (store.lists, store.gets) == (1, 1)
    clock.advance(_UNKNOWN_AGE_S_MAX)
    find(known, *wrong)
    assert (store.lists, store.gets) == (2, 1)


def test_a_text_without_the_form_of_a_key_costs_nothing() -> None:
    store = CountingStore()
    assert find(KnownKeys(store, ManualClock()), b"secret", b"") == [None, None]
    assert store.lists == 0


def test_a_new_key_is_accepted_within_a_second() -> None:
    store, clock = CountingStore(), ManualClock()
    known = KnownKeys(store, clock)
    find(known, WRONG)

    key = made(store)

    clock.advance(_UNKNOWN_AGE_S_MAX)
    assert find(known, key) != [None]


def test_a_revoked_key_is_refused_within_five_seconds() -> None:
    store, clock = CountingStore(), ManualClock()
    key = made(store)
    known = KnownKeys(store, clock)
    (record,) = find(known, key)
    assert record is not None

    assert revoke_key(store, record.id)

    clock.advance(_KNOWN_AGE_S_MAX)
    assert _KNOWN_AGE_S_MAX <= 5
    assert find(known, key) == [None]


def test_an_expired_key_is_refused_at_once() -> None:
    store, clock = CountingStore(), ManualClock(NOW_S)
    key = made(store, expires_at_s=NOW_S + 1)
    known = KnownKeys(store, clock)

    assert find(known, key) != [None]
    clock.advance(1)
    assert find(known, key) == [None]
    assert store.lists == 1


def test_a_clock_that_is_set_back_does_not_keep_a_revoked_key() -> None:
    store, clock = CountingStore(), ManualClock(NOW_S)
    key = made(store)
    known = KnownKeys(store, clock)
    (record,) = find(known, key)
    assert record is not None
    revoke_key(store, record.id)

    clock.advance(-3600)

    assert find(known, key) == [None]


# --- a store that does not answer ---------------------------------------------------------------------------


def test_an_outage_keeps_known_keys_for_a_bounded_time_and_lets_no_other_in() -> None:
    store, clock = CountingStore(), ManualClock()
    key, late = made(store), made(store)
    known = KnownKeys(store, clock)
    find(known, key)
    stranger = made(store)
    store.is_down = True

    clock.advance(_OUTAGE_AGE_S_MAX)
    assert find(known, key, late) != [None, None]
    with pytest.raises(BackendUnavailable):
        find(known, stranger)
    with pytest.raises(BackendUnavailable):
        find(known, WRONG)
    assert find(known, key[:17] + b"0" * 64) == [None]
    clock.advance(1)
    with pytest.raises(BackendUnavailable):
        find(known, key)

    store.is_down = False
    clock.advance(_KNOWN_AGE_S_MAX)
    assert None not in find(known, key, stranger)


def test_an_outage_costs_as_few_calls_as_a_healthy_store() -> None:
    store, clock = CountingStore(), ManualClock()
    key = made(store)
    known = KnownKeys(store, clock)
    find(known, key)
    store.is_down = True
    clock.advance(_KNOWN_AGE_S_MAX)

    find(known, *[key] * 100)

    assert store.lists == 2


def test_a_process_that_starts_in_an_outage_lets_no_key_in() -> None:
    store = CountingStore()
    key = made(store)
    store.is_down = True
    with pytest.raises(BackendUnavailable):
        find(KnownKeys(store, ManualClock()), key)


def test_a_store_that_hangs_delays_a_known_key_but_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beholder.api_keys.known._SLOW_S_MAX", 0.0)
    store, clock = CountingStore(), ManualClock()
    key = made(store)

    async def scene() -> None:
        known = KnownKeys(store, clock)
        assert await known.find(key) is not None
        clock.advance(_KNOWN_AGE_S_MAX)
        store.answers.clear()
        assert await known.find(key) is not None
        stranger = asyncio.create_task(known.find(WRONG))
        await asyncio.sleep(0)
        assert await known.find(key) is not None
        assert not stranger.done()
        store.answers.set()
        assert await stranger is None
        assert store.lists == 2

    asyncio.run(scene())


def test_requests_that_arrive_together_share_one_listing() -> None:
    store = CountingStore()
    keys = [made(store) for _ in range(5)]

    async def scene() -> list[ApiKey | None]:
        known = KnownKeys(store, ManualClock())
        return await asyncio.gather(*(known.find(key) for key in keys * 20))

    assert None not in asyncio.run(scene())
    assert store.lists == 1


def test_an_unexpected_error_is_that_of_the_request() -> None:
    class Broken(MemoryStore):
        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            raise RuntimeError(prefix)

    with pytest.raises(RuntimeError):
        find(KnownKeys(Broken(), ManualClock()), WRONG)
