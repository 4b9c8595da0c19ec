"""The message that the input queue carries: everything a worker needs to answer one job."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from beholder.errors import BeholderError
from beholder.job.job import JobInput, Options

__all__ = ["Message", "MessageInvalid"]


class MessageInvalid(BeholderError):
    """A queue held a body that is no message of a version known here."""

    code = "message_invalid"


@dataclass(frozen=True, slots=True)
class Message:
    """One job on its way to a worker.

    Args:
        job_id: The job.
        created_at_s: When the job was taken in, seconds since the Unix epoch.
        input: Where the image lies.
        options: What the caller asked for.
        reply_to: Name of the reply queue of the web process that waits, or None.
        deadline_s: After this time the job is worth nothing any more; None for never.
        wants_text: Also store the best label as plain text, the form the classic clients know.
        trace: The caller's trace context (W3C traceparent), or None.
        image: The image itself, where it rides inside; otherwise it is fetched by `input.image_key`.
    """

    VERSION: ClassVar[int] = 1

    job_id: str
    created_at_s: float
    input: JobInput
    options: Options = field(default_factory=Options)
    reply_to: str | None = None
    deadline_s: float | None = None
    wants_text: bool = False
    trace: str | None = None
    image: bytes | None = None

    def to_bytes(self) -> bytes:
        """Return the wire form: compact JSON, UTF-8, with the version first."""
        document: dict[str, Any] = {
            "v": self.VERSION,
            "job": self.job_id,
            "at": self.created_at_s,
            "key": self.input.image_key,
            "name": self.input.file_name,
            "bytes": self.input.image_bytes,
            "model": self.options.model,
            "top_k": self.options.top_k,
            "min": self.options.min_confidence,
            "reply": self.reply_to,
            "deadline": self.deadline_s,
            "text": self.wants_text,
            "trace": self.trace,
        }
        if self.image is not None:
            document["image"] = b64encode(self.image).decode()
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read the wire form.

        Raises:
            MessageInvalid: The body is no message, or one of another version.
        """
        try:
            document = json.loads(body)
            version = document["v"]
            if version != cls.VERSION:
                raise MessageInvalid(f"message version {version!r} is not {cls.VERSION}")
            image = document.get("image")
            return cls(
                job_id=document["job"],
                created_at_s=float(document["at"]),
                input=JobInput(document["key"], document["name"], document["bytes"]),
                options=Options(document["model"], document["top_k"], document["min"]),
                reply_to=document["reply"],
                deadline_s=document["deadline"],
                wants_text=document["text"],
                trace=document["trace"],
                image=None if image is None else b64decode(image, validate=True),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise MessageInvalid(f"not a message: {type(exc).__name__}: {exc}") from exc
