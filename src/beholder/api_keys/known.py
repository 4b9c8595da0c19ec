"""The API keys as one web process knows them: all records in memory, read again at most every few seconds."""

import asyncio
import logging

from beholder.api_keys.records import ApiKey, parts_of, read_record
from beholder.clock import Clock
from beholder.errors import BackendError, BackendUnavailable, ObjectNotFound
from beholder.store.keys import API_KEYS
from beholder.store.port import Store
from beholder.store.shared_reading import SharedReading
from beholder.telemetry.log import log_event

__all__ = ["KnownKeys"]

_log = logging.getLogger(__name__)

# How old the records may be for a key that is among them, and for a key that is not. The second is shorter so
# that a new key soon works, and not 0, because each of a flood of wrong keys would then cost a listing.
_KNOWN_AGE_S_MAX, _UNKNOWN_AGE_S_MAX = 5.0, 1.0
# How old they may be while the store does not answer.
_OUTAGE_AGE_S_MAX = 300.0
# How long a request with a known key waits for a store that is slow.
_SLOW_S_MAX = 1.0


class KnownKeys:
    """Checks keys against the records of the output bucket; used from one event loop.

    A revoked key is refused within 5 seconds, and a new one accepted within one. While the store does not
    answer, known keys are accepted for 300 seconds after the last answer, and no other key is.

    Args:
        store: The output bucket.
        clock: The time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # By the key of the object: when it was stored, and the record in it; None if it holds none.
        self._records: dict[str, tuple[float, ApiKey | None]] = {}
        self._by_id: dict[str, ApiKey] = {}
        self._asked_at_s = self._read_at_s = float("-inf")
        self._trouble: BackendError | None = None
        self._reading = SharedReading(self._read_all)

    async def find(self, text: bytes) -> ApiKey | None:
        """Return the record of a key as a client sent it; None if it is unknown, revoked or expired.

        Raises:
            BackendUnavailable: The store does not answer, and it alone could say whether this is a key.
        """
        parts = parts_of(text)
        if parts is None:
            return None
        key_id, secret = parts
        record = await self.find_by_id(key_id)
        return record if record is not None and record.matches(secret) else None

    async def find_by_id(self, key_id: str) -> ApiKey | None:
        """Return the record of a key, whose secret is not checked; None if it is unknown, revoked or expired.

        Raises:
            BackendUnavailable: The store does not answer, and it alone could say whether there is such a key.
        """
        if not self._is_fresh(is_known=key_id in self._by_id):
            is_known = key_id in self._by_id and self._age_s() <= _OUTAGE_AGE_S_MAX
            await self._reading.wait(_SLOW_S_MAX if is_known else None)
        record = self._by_id.get(key_id)
        if self._trouble is not None and (record is None or self._age_s() > _OUTAGE_AGE_S_MAX):
            raise BackendUnavailable("api keys", "read", self._trouble.message) from self._trouble
        if record is None or record.is_expired(self._clock.now_s()):
            return None
        return record

    def _is_fresh(self, *, is_known: bool) -> bool:
        age_s = self._clock.now_s() - self._asked_at_s
        return 0 <= age_s < (_KNOWN_AGE_S_MAX if is_known else _UNKNOWN_AGE_S_MAX)

    def _age_s(self) -> float:
        return self._clock.now_s() - self._read_at_s

    async def _read_all(self) -> None:
        now_s = self._clock.now_s()
        try:
            self._records = await asyncio.to_thread(self._load)
        except BackendError as exc:
            self._trouble = exc
            facts = {"error": exc.message, "known": len(self._by_id)}
            log_event(_log, logging.WARNING, "keys.unread", "the API keys cannot be read", **facts)
        else:
            self._trouble = None
            self._read_at_s = now_s
            self._by_id = {one.id: one for _, one in self._records.values() if one is not None}
        finally:
            self._asked_at_s = now_s

    def _load(self) -> dict[str, tuple[float, ApiKey | None]]:
        """Return all records; those that are known are not read again, since a record never changes."""
        found = {}
        for info in self._store.list(API_KEYS):
            known = self._records.get(info.key)
            if known is not None and known[0] == info.stored_at_s:
                found[info.key] = known
                continue
            try:
                record = read_record(self._store.get(info.key))
            except ObjectNotFound:  # revoked meanwhile
                continue
            if record is None:
                facts = {"key": info.key}
                log_event(_log, logging.WARNING, "keys.unreadable", "an object holds no API key", **facts)
            found[info.key] = (info.stored_at_s, record)
        return found
