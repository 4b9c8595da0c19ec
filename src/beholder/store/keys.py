"""Every object key of beholder, in both buckets, and the rules for keys."""

import re
import unicodedata

__all__ = [
    "PROBE_KEY",
    "dead_letter_key",
    "image_key",
    "image_prefix",
    "is_drop_key",
    "redrive_claim_key",
    "resent_key",
    "result_key",
    "safe_file_name",
    "text_key",
    "unreadable_key",
    "upload_result_key",
]

# File systems take names of 255 bytes; an adapter may add to a name, and a character takes up to 4 bytes.
_FILE_NAME_BYTES_MAX = 180
_SUFFIX_BYTES_MAX = 40
_KEY_BYTES_MAX = 1024
_PART_BYTES_MAX = 200
IMAGES = "images/"
_UPLOADS = "drop/"
_DIRECT = "upload="
RESULTS = "results/"
CANCELED = "results/canceled/"
WEBHOOKS = "results/webhooks/"
# In the output bucket: put when a web process looks for the records below `WEBHOOKS`.
WEBHOOK_SCAN = "results/webhook-scan"
# In the output bucket: the records of API keys.
API_KEYS = "keys/"
# In the output bucket: which model is the default.
DEFAULT_MODEL = "models/default.json"
# Put or read after another key failed, to distinguish trouble with one object from trouble with the bucket.
PROBE_KEY = "probe"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def image_prefix(job_id: str) -> str:
    """Return the folder of one job in the input bucket."""
    return f"{IMAGES}{job_id}/"


def job_id_of_image(key: str) -> str:
    """Return the part of an image's key that is its job's id."""
    return key.removeprefix(IMAGES).partition("/")[0]


def image_key(job_id: str, file_name: str) -> str:
    """Return the image's key in the input bucket; images of two jobs never collide."""
    return image_prefix(job_id) + safe_file_name(file_name)


def direct_upload_key(job_id: str, owner: str) -> str:
    """Return the key of an image that was sent by a link; the owner is an API key's id, or empty."""
    return image_prefix(job_id) + _DIRECT + owner


def is_direct_upload_key(key: str) -> bool:
    """Return whether an image was sent by a link; no file name has that form."""
    return key.rpartition("/")[2].startswith(_DIRECT)


def result_key(job_id: str) -> str:
    """Return the key of the whole job object in the output bucket, which is authoritative for the job."""
    return f"{RESULTS}{job_id}.json"


def text_key(job_id: str) -> str:
    """Return the key of the plain-text label in the output bucket, the form the classic clients expect."""
    return f"{RESULTS}{job_id}.txt"


def is_drop_key(key: str) -> bool:
    """Return whether a key of the input bucket is in the folder in which other tools put images."""
    return key.startswith(_UPLOADS)


def upload_result_key(image_key: str) -> str:
    """Return the key of an upload's job object: `drop/a/b.jpg` has `results/drop/a/b.jpg`.

    No job id has a slash, so the key is no other job's; a newer image of the same key replaces it.
    """
    return RESULTS + image_key


def canceled_key(job_id: str) -> str:
    """Return the key, in the output bucket, of the mark that a job may be canceled."""
    return CANCELED + job_id


def webhook_key(job_id: str) -> str:
    """Return the key, in the output bucket, of the record of a webhook that is not delivered yet."""
    return WEBHOOKS + job_id


def kept_webhook_key(job_id: str) -> str:
    """Return the key, in the output bucket, of the webhook of a failed job, which a retry takes over."""
    return f"{RESULTS}webhook-kept/{job_id}"


def dead_letter_key(job_id: str) -> str:
    """Return the key, in the output bucket, of a job's message that was given up."""
    return f"dead/{job_id}.json"


def unreadable_key(digest: str) -> str:
    """Return the key, in the output bucket, of a message body that could not be read, by its SHA-256."""
    return f"dead/unreadable/{digest}.bin"


def redrive_claim_key(letter_id: str) -> str:
    """Return the key, in the output bucket, that is taken while a dead letter is being sent back."""
    return f"dead/claims/{letter_id}"


def resent_key(job_id: str) -> str:
    """Return the key, in the output bucket, that holds how often a job's lost message was sent again."""
    return f"resent/{job_id}.json"


def api_key_key(key_id: str) -> str:
    """Return the key, in the output bucket, of an API key's record."""
    return f"{API_KEYS}{key_id}.json"


def safe_file_name(file_name: str) -> str:
    """Return `file_name` without folders, control characters and characters that break file systems or URLs.

    The result is 1 to 180 bytes of UTF-8, keeps a short suffix such as `.jpeg`, and is a valid part of a key.
    """
    last = re.split(r"[/\\]", file_name)[-1]
    plain = unicodedata.normalize("NFC", last)
    kept = re.sub(r"[^\w.\-+@ ()]", "_", plain).strip(" .")
    stem, dot, suffix = kept.rpartition(".")
    if not dot or len(suffix.encode()) > _SUFFIX_BYTES_MAX:
        return _cut(kept, _FILE_NAME_BYTES_MAX).rstrip(" .") or "image"
    return _cut(stem, _FILE_NAME_BYTES_MAX - len(suffix.encode()) - 1) + dot + suffix


def check_key(key: str) -> None:
    """Refuse a key that not every store can hold, or that leads out of its folder.

    Raises:
        ValueError: The key is empty or longer than 1,024 bytes of UTF-8; or a part between its slashes is
            empty, longer than 200 bytes, `.` or `..`, begins the key with a dot (reserved for adapters), or
            holds a control character or half a surrogate pair.
    """
    if not key or len(_bytes_of(key)) > _KEY_BYTES_MAX:
        raise ValueError(f"key {key[:80]!r} is not 1 to {_KEY_BYTES_MAX} bytes of UTF-8")
    if key.startswith("."):
        raise ValueError(f"key {key!r} begins with a dot, which is reserved")
    for part in key.split("/"):
        if part in {"", ".", ".."} or len(part.encode()) > _PART_BYTES_MAX:
            raise ValueError(f"key {key!r} has a part that is empty, a dot, or over {_PART_BYTES_MAX} bytes")
    if _CONTROL.search(key):
        raise ValueError(f"key {key!r} holds a control character")


def check_prefix(prefix: str) -> None:
    """Refuse a listing's prefix that is no folder of valid keys.

    Raises:
        ValueError: It is neither empty nor a valid key with a slash behind it.
    """
    if not prefix:
        return
    if not prefix.endswith("/"):
        raise ValueError(f"prefix {prefix!r} does not end with a slash")
    check_key(prefix[:-1])


def _cut(text: str, bytes_max: int) -> str:
    """Return as many whole characters from the start of `text` as `bytes_max` bytes of UTF-8 hold."""
    return text.encode()[:bytes_max].decode(errors="ignore")


def _bytes_of(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"key {key!r} is not Unicode") from exc
