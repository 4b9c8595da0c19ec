"""The store inside one process, for unit tests."""

import threading
from collections.abc import Iterator, Mapping

from beholder.clock import Clock, SystemClock
from beholder.errors import ObjectExists, ObjectNotFound
from beholder.store.keys import check_key, check_prefix
from beholder.store.port import ObjectInfo

__all__ = ["MemoryStore"]

_BACKEND = "memory store"
_SYSTEM_CLOCK = SystemClock()


class MemoryStore:
    """A bucket in memory; see the `Store` port for its methods. Its objects end with the process.

    Args:
        clock: Gives the time at which an object is stored.
    """

    def __init__(self, *, clock: Clock = _SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}

    def put(
        self,
        key: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> None:
        """Store an object; see `Store.put`."""
        check_key(key)
        info = ObjectInfo(key, len(data), self._clock.now_s(), dict(metadata or {}))
        with self._lock:
            if only_if_absent and key in self._objects:
                raise ObjectExists(_BACKEND, "put", key)
            self._objects[key] = (bytes(data), info)

    def get(self, key: str) -> bytes:
        """Return an object's bytes; see `Store.get`."""
        return self._find("get", key)[0]

    def head(self, key: str) -> ObjectInfo:
        """Return the facts of an object; see `Store.head`."""
        return self._find("head", key)[1]

    def delete(self, key: str) -> None:
        """Remove an object; see `Store.delete`."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `prefix` by key, without metadata; see `Store.list`."""
        check_prefix(prefix)
        with self._lock:
            found = [
                self._objects[key][1]
                for key in sorted(self._objects)
                if key.startswith(prefix) and key > after
            ]
        return (ObjectInfo(info.key, info.size_bytes, info.stored_at_s) for info in found)

    def _find(self, operation: str, key: str) -> tuple[bytes, ObjectInfo]:
        check_key(key)
        with self._lock:
            try:
                return self._objects[key]
            except KeyError:
                raise ObjectNotFound(_BACKEND, operation, key) from None
