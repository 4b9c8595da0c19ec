"""The message that the input queue carries: everything a worker needs for one job."""

import json
import math
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from beholder.errors import BeholderError
from beholder.job.ids import is_job_id
from beholder.job.job import JobInput, Options
from beholder.job.reference import split_reference

__all__ = ["TIME_MAX_S", "Message", "MessageInvalid"]

_NUMBER = (int, float)
_NULL = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    "job": (str,),
    "at": _NUMBER,
    "key": (str,),
    "name": (str,),
    "bytes": (int,),
    "model": (str, _NULL),
    "top_k": (int,),
    "min": _NUMBER,
    "reply": (str, _NULL),
    "deadline": (*_NUMBER, _NULL),
    "text": (bool,),
}
TIME_MAX_S = 253_402_300_799  # the last second of the year 9999; no date can be later


class MessageInvalid(BeholderError, code="message_invalid"):
    """A body in a queue is not a message of a known version."""


@dataclass(frozen=True, slots=True)
class Message:
    """One job on its way to a worker.

    Args:
        job_id: Id of the job.
        created_at_s: When the job was accepted, seconds since the Unix epoch.
        input: Where the image is stored, and the caller's options.
        reply_to: Name of the reply queue of the web process that waits; None if no process waits.
        deadline_s: When the job expires; None for never.
        wants_text: Whether the best label is also stored as plain text, for classic load generators.
        image: The image, if it is small enough; otherwise None, and the worker fetches it by its key.
        model: The reference of the model that was chosen when the job was accepted; None if none was chosen.
    """

    VERSION: ClassVar[int] = 1

    job_id: str
    created_at_s: float
    input: JobInput
    reply_to: str | None = None
    deadline_s: float | None = None
    wants_text: bool = False
    image: bytes | None = None
    model: str | None = None

    @property
    def model_and_version(self) -> tuple[str | None, str | None]:
        """The name and the version of the model, as far as they are known."""
        known = self.model or self.input.options.model
        return (None, None) if known is None else split_reference(known)

    def to_bytes(self) -> bytes:
        """Return the wire form: compact JSON, UTF-8, with the version first."""
        document: dict[str, Any] = {
            "v": self.VERSION,
            "job": self.job_id,
            "at": self.created_at_s,
            "key": self.input.image_key,
            "name": self.input.file_name,
            "bytes": self.input.image_bytes,
            "model": self.input.options.model,
            "top_k": self.input.options.top_k,
            "min": self.input.options.min_confidence,
            "reply": self.reply_to,
            "deadline": self.deadline_s,
            "text": self.wants_text,
        }
        if self.input.options.include:
            document["include"] = self.input.options.include
        if self.input.options.exclude:
            document["exclude"] = self.input.options.exclude
        if self.input.options.embed:
            document["embed"] = True
        if self.model is not None:
            document["chosen"] = self.model
        if self.input.tag is not None:
            document["tag"] = self.input.tag
        if self.image is not None:
            document["image"] = b64encode(self.image).decode()
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read the wire form.

        Raises:
            MessageInvalid: The body is not a message, or is of another version.
        """
        try:
            document = json.loads(body)
            version = document["v"]
            if version != cls.VERSION:
                raise MessageInvalid(f"message version {version!r} is not {cls.VERSION}")
            _check(document)
            image = document.get("image")
            return cls(
                job_id=document["job"],
                created_at_s=float(document["at"]),
                input=JobInput(
                    document["key"],
                    document["name"],
                    document["bytes"],
                    Options(
                        document["model"],
                        document["top_k"],
                        document["min"],
                        _classes(document, "include"),
                        _classes(document, "exclude"),
                        document.get("embed") is True,
                    ),
                    document.get("tag"),
                ),
                reply_to=document["reply"],
                deadline_s=document["deadline"],
                wants_text=document["text"],
                image=None if image is None else b64decode(image, validate=True),
                model=document.get("chosen"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise MessageInvalid(f"not a message: {type(exc).__name__}: {exc}") from exc


def _classes(document: dict[str, Any], name: str) -> tuple[int, ...]:
    """Return the class numbers of a filter; none if the message has no such filter."""
    classes = document.get(name, [])
    if not isinstance(classes, list) or not all(isinstance(one, int) for one in classes):
        raise TypeError(f"{name} is {classes!r:.80}")
    return tuple(classes)


def _check(document: dict[str, Any]) -> None:
    """Refuse a message that would make a later step fail at every delivery."""
    for name, types in _TYPES.items():
        value = document[name]
        if not isinstance(value, types):
            raise TypeError(f"{name} is {value!r:.80}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        if isinstance(value, str):
            value.encode()  # fails for a lone surrogate, which no result can contain
    for name in ("chosen", "tag"):
        if not isinstance(document.get(name), str | None):
            raise TypeError(f"{name} is {document[name]!r:.80}")
    if not is_job_id(document["job"]):
        raise ValueError(f"job is {document['job']!r:.80}")
    if not 0 <= document["at"] < TIME_MAX_S:
        raise ValueError(f"at is {document['at']}")
