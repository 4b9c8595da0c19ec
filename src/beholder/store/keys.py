"""Every object key of beholder, in one file: what lies where in the two buckets."""

import re
import unicodedata

__all__ = [
    "dead_letter_key",
    "image_key",
    "image_prefix",
    "result_key",
    "safe_file_name",
    "text_key",
    "unreadable_key",
]

_FILE_NAME_CHARS_MAX = 100


def image_prefix(job_id: str) -> str:
    """Return the folder of one job in the input bucket."""
    return f"images/{job_id}/"


def image_key(job_id: str, file_name: str) -> str:
    """Return the image's key in the input bucket; two files of one name never collide."""
    return image_prefix(job_id) + safe_file_name(file_name)


def result_key(job_id: str) -> str:
    """Return the key of the whole job object in the output bucket: the truth about the job."""
    return f"results/{job_id}.json"


def text_key(job_id: str) -> str:
    """Return the key of the plain-text label in the output bucket, the form the classic clients expect."""
    return f"results/{job_id}.txt"


def dead_letter_key(job_id: str) -> str:
    """Return the key, in the output bucket, of a job's message that was given up."""
    return f"dead/{job_id}.json"


def unreadable_key(digest: str) -> str:
    """Return the key, in the output bucket, of a message body that nobody could read, by its SHA-256."""
    return f"dead/unreadable/{digest}.bin"


def safe_file_name(file_name: str) -> str:
    """Return `file_name` without folders, control characters or anything a file system or URL trips over."""
    last = re.split(r"[/\\]", file_name)[-1]
    plain = unicodedata.normalize("NFC", last)
    kept = re.sub(r"[^\w.\-+@ ()]", "_", plain).strip(" .")
    stem, dot, suffix = kept.rpartition(".")
    if dot and len(suffix) < _FILE_NAME_CHARS_MAX // 2:
        kept = stem[: _FILE_NAME_CHARS_MAX - len(suffix) - 1] + dot + suffix
    return kept[:_FILE_NAME_CHARS_MAX] or "image"
