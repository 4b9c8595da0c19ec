"""Job ids: UUIDv7, so that ids sort by the time at which the job was accepted.

Source: RFC 9562, section 5.7 (UUIDv7: 48 bits of milliseconds since the Unix epoch, then random bits).
"""

import hashlib
import os
import re

__all__ = ["created_at_s", "is_job_id", "job_id_from_key", "new_job_id"]

# With the version and the variant that `new_job_id` writes. An expression, since `uuid.UUID` takes 5 us.
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_job_id(now_s: float) -> str:
    """Return a new id for a job accepted at `now_s` (seconds since the Unix epoch)."""
    return _uuid7(now_s, os.urandom(10))


def job_id_from_key(caller: str, key: str, *, epoch_s: float) -> str:
    """Return the id that a caller's key always gives with the same `epoch_s`.

    Args:
        caller: Name of the caller; two callers may use the same key.
        key: An Idempotency-Key, or what else identifies the job.
        epoch_s: The time that is written into the id.
    """
    digest = hashlib.sha256(f"{len(caller)}:{caller}{key}".encode()).digest()
    return _uuid7(epoch_s, digest[:10])


def created_at_s(job_id: str) -> float:
    """Return the time in `job_id`, in seconds since the Unix epoch, to the millisecond."""
    return int(job_id[:8] + job_id[9:13], 16) / 1000


def is_job_id(text: str) -> bool:
    """Return whether `text` is a job id in the form that this module writes."""
    return _JOB_ID.fullmatch(text) is not None


def _uuid7(now_s: float, tail: bytes) -> str:
    value = (round(now_s * 1000) << 80) | int.from_bytes(tail)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
