"""The contract of every store, as a test class that an adapter's author subclasses.

Define the fixture that makes an empty store, and pytest runs the whole suite on it::

    from beholder.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from beholder.errors import ObjectExists, ObjectNotFound
from beholder.store import Store

__all__ = ["StoreContract"]

_KEYS = [
    "plain.jpg",
    "images/0/with space.jpg",
    "images/0/köln ☃.jpg",
    "images/0/100%.jpg",
    "images/0/a%20b%2Fc",
    "images/0/number#1",
    "images/0/number#1#",
    "images/0/#",
    "images/#2/x",
    "images/0/+@()~!$&'*,;=:^[]{}|<>?\"",
    "images/0/" + "ü" * 90,
    "/".join(["deep"] * 100),
]
_BAD_KEYS = [
    "",
    "/",
    "/absolute",
    "folder/",
    "a//b",
    ".",
    "..",
    "../x",
    "a/../b",
    "a/./b",
    "a/..",
    ".metadata/x",
    "a\nb",
    "a\0b",
    "a\x7fb",
    "half\ud800",
    "x" * 201,
    "/".join(["x" * 100] * 11),
]


class StoreContract:
    """The semantics of the `Store` port, one test each."""

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store; an adapter's test overrides this."""
        raise NotImplementedError

    # --- one object ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", b"text"])
    def test_an_object_that_was_put_can_be_read(self, store: Store, data: bytes) -> None:
        """A read after a put sees it, byte for byte."""
        store.put("a/b.bin", data)
        assert store.get("a/b.bin") == data
        assert store.head("a/b.bin").size_bytes == len(data)

    def test_a_large_object_survives(self, store: Store) -> None:
        """5 MB come back as they were."""
        data = os.urandom(5_000_000)
        store.put("large", data)
        assert store.get("large") == data

    @pytest.mark.parametrize("key", _KEYS)
    def test_any_valid_key_keeps_its_name(self, store: Store, key: str) -> None:
        """Keys may hold spaces, any script, and characters that are special in URLs and on file systems."""
        store.put(key, key.encode(), metadata={"key": "x"})
        assert store.get(key) == key.encode()
        assert store.head(key).key == key
        assert [info.key for info in store.list("")] == [key]
        store.delete(key)
        assert list(store.list("")) == []

    @pytest.mark.parametrize("key", _BAD_KEYS)
    def test_a_malformed_key_is_refused(self, store: Store, key: str) -> None:
        """No key leads out of the store, and a key that another adapter would refuse is refused."""
        for refused in (store.get, store.head, store.delete, lambda key: store.put(key, b"x")):
            with pytest.raises(ValueError, match="key"):
                refused(key)
        assert list(store.list("")) == []

    def test_a_second_put_replaces_the_first(self, store: Store) -> None:
        """The last put wins, with its data and its metadata."""
        store.put("k", b"a long first text", metadata={"version": "1"})
        store.put("k", b"second", metadata={"version": "2"})
        assert store.get("k") == b"second"
        assert (store.head("k").size_bytes, store.head("k").metadata) == (6, {"version": "2"})

    def test_a_missing_object_is_not_found(self, store: Store) -> None:
        """Reading a missing object raises, also below an object and above one."""
        store.put("a/b", b"x")
        for key in ("missing", "a/missing", "a", "a/b/c"):
            with pytest.raises(ObjectNotFound):
                store.get(key)
            with pytest.raises(ObjectNotFound):
                store.head(key)

    def test_a_deleted_object_is_gone(self, store: Store) -> None:
        """Deleting removes one object and no other, and may be repeated."""
        store.put("a/b", b"x", metadata={"m": "1"})
        store.put("a/c", b"y")
        for key in ("a/b", "a/b", "a/missing", "a/c/d"):
            store.delete(key)
        with pytest.raises(ObjectNotFound):
            store.get("a/b")
        assert [info.key for info in store.list("")] == ["a/c"]

    def test_head_returns_when_an_object_was_stored(self, store: Store) -> None:
        """The time is that of the put, give or take the difference of the clocks."""
        store.put("k", b"x")
        assert abs(store.head("k").stored_at_s - time.time()) < 60.0

    # --- metadata ------------------------------------------------------------------------------------------

    def test_metadata_comes_back(self, store: Store) -> None:
        """Head returns the texts that were put with an object."""
        metadata = {"file-name": "a b.jpg", "top-k": "5", "empty": ""}
        store.put("images/1/a b.jpg", b"x", metadata=metadata)
        assert dict(store.head("images/1/a b.jpg").metadata) == metadata

    def test_no_metadata_is_none(self, store: Store) -> None:
        """An object put without metadata has none, whatever metadata its predecessor had."""
        store.put("k", b"1", metadata={"m": "1"})
        store.put("k", b"2")
        assert dict(store.head("k").metadata) == {}
        store.put("k", b"3", metadata={"m": "3"})
        store.delete("k")
        store.put("k", b"4")
        assert dict(store.head("k").metadata) == {}

    def test_metadata_is_no_object(self, store: Store) -> None:
        """The files that an adapter keeps for itself are never listed."""
        store.put("a/k", b"1", metadata={"m": "1"})
        assert [info.key for info in store.list("")] == ["a/k"]

    # --- only if absent ------------------------------------------------------------------------------------

    def test_only_if_absent_leaves_an_existing_object(self, store: Store) -> None:
        """The first put of a key wins, with its data and its metadata."""
        store.put("k", b"first", metadata={"m": "first"}, only_if_absent=True)
        with pytest.raises(ObjectExists):
            store.put("k", b"second", metadata={"m": "second"}, only_if_absent=True)
        assert (store.get("k"), dict(store.head("k").metadata)) == (b"first", {"m": "first"})
        store.delete("k")
        store.put("k", b"third", only_if_absent=True)
        assert store.get("k") == b"third"

    def test_of_eight_racing_puts_one_wins(self, store: Store) -> None:
        """The others get an error, and the winner's data and metadata stay together."""
        for attempt in range(10):
            key, together = f"race/{attempt}", threading.Barrier(8)

            def put(name: str, key: str = key, together: threading.Barrier = together) -> str | None:
                together.wait(timeout=30)
                try:
                    store.put(key, name.encode(), metadata={"name": name}, only_if_absent=True)
                except ObjectExists:
                    return None
                return name

            with ThreadPoolExecutor(8) as pool:
                winners = [name for name in pool.map(put, [f"racer-{n}" for n in range(8)]) if name]
            assert len(winners) == 1
            assert store.get(key).decode() == winners[0]
            assert dict(store.head(key).metadata) == {"name": winners[0]}

    # --- many ----------------------------------------------------------------------------------------------

    def test_concurrent_puts_of_one_key_leave_one_of_them_whole(self, store: Store) -> None:
        """A reader sees one put or another, never a mixture and never nothing."""
        bodies = {bytes([n]) * 200_000 for n in range(8)}
        store.put("k", bytes([0]) * 200_000)
        with ThreadPoolExecutor(12) as pool:
            writers = [pool.submit(store.put, "k", body) for body in bodies for _ in range(4)]
            readers = [pool.submit(store.get, "k") for _ in range(16)]
            for writer in writers:
                writer.result()
            assert all(reader.result() in bodies for reader in readers)
        assert store.get("k") in bodies

    def test_concurrent_puts_of_many_keys_all_arrive(self, store: Store) -> None:
        """Writers of one folder disturb neither each other nor deletions."""

        def put(number: int) -> None:
            store.put(f"many/{number % 10}/gone", b"x", metadata={"m": "x"})
            store.put(f"many/{number % 10}/{number}", b"%d" % number, metadata={"n": f"{number}"})
            store.delete(f"many/{number % 10}/gone")

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, range(200)))
        keys = [info.key for info in store.list("many/")]
        assert sorted(keys) == sorted(f"many/{n % 10}/{n}" for n in range(200))
        assert all(store.get(key).decode() == key.rsplit("/", 1)[1] for key in keys)

    # --- listing -------------------------------------------------------------------------------------------

    def test_a_listing_is_ordered_by_key(self, store: Store) -> None:
        """The order is that of the whole key, which is not that of folders and names."""
        keys = ["a", "b!", "b/1", "b/10", "b/2", "b/c/d", "b0", "B", "c-d/x", "c/x", "é", "z#1", "z#10"]
        for key in reversed(keys):
            store.put(key, key.encode())
        listed = list(store.list(""))
        assert [info.key for info in listed] == sorted(keys)
        assert [info.size_bytes for info in listed] == [len(info.key.encode()) for info in listed]

    def test_a_listing_may_begin_behind_a_key(self, store: Store) -> None:
        """The key itself need not exist; what lies below it as a folder is behind it."""
        for key in ("a/1", "a/2/x", "a/2/y", "a/3", "b/0"):
            store.put(key, b"x")
        for after, expected in (
            ("a/0", ["a/1", "a/2/x", "a/2/y", "a/3"]),
            ("a/1", ["a/2/x", "a/2/y", "a/3"]),
            ("a/2", ["a/2/x", "a/2/y", "a/3"]),
            ("a/3", []),
        ):
            assert [info.key for info in store.list("a/", after=after)] == expected

    def test_a_listing_keeps_to_its_prefix(self, store: Store) -> None:
        """A prefix is a folder: keys that merely begin alike are left out."""
        for key in ("a/1", "a/b/2", "ab/3", "a.4"):
            store.put(key, b"x")
        assert [info.key for info in store.list("a/")] == ["a/1", "a/b/2"]
        assert [info.key for info in store.list("a/b/")] == ["a/b/2"]
        assert list(store.list("missing/")) == []
        for prefix in ("a", "../", "/"):
            with pytest.raises(ValueError, match=r"prefix|key"):
                list(store.list(prefix))
