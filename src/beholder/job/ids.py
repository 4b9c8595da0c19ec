"""Job ids: UUIDv7, so that ids sort by the time at which the job was taken in.

Source: RFC 9562, section 5.7 (UUIDv7: 48 bits of milliseconds since the Unix epoch, then random bits).
"""

import hashlib
import os
import uuid

__all__ = ["created_at_s", "is_job_id", "job_id_from_key", "new_job_id"]


def new_job_id(now_s: float) -> str:
    """Return a fresh id for a job taken in at `now_s` (seconds since the Unix epoch)."""
    return _uuid7(now_s, os.urandom(10))


def job_id_from_key(caller: str, key: str, *, epoch_s: float) -> str:
    """Return the id that `caller` and their idempotency `key` always give within one epoch.

    Args:
        caller: Who sends the request; two callers may use the same key.
        key: The Idempotency-Key as sent.
        epoch_s: A time that both requests agree on; it is written into the id.
    """
    digest = hashlib.sha256(f"{len(caller)}:{caller}{key}".encode()).digest()
    return _uuid7(epoch_s, digest[:10])


def created_at_s(job_id: str) -> float:
    """Return the time written into `job_id`, in seconds since the Unix epoch, to the millisecond."""
    return (uuid.UUID(job_id).int >> 80) / 1000


def is_job_id(text: str) -> bool:
    """Say whether `text` is a job id as this module writes them."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return False
    return parsed.version == 7 and str(parsed) == text  # noqa: PLR2004 -- the version that new_job_id writes


def _uuid7(now_s: float, tail: bytes) -> str:
    value = (round(now_s * 1000) << 80) | int.from_bytes(tail)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))
