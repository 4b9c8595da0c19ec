"""Reads the image out of a request: a raw body or a multipart form, within bounds."""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.clock import Clock, MonotonicClock
from beholder.errors import (
    ImageMissing,
    ImagesTooMany,
    ImageTooLarge,
    MultipartMalformed,
    Overloaded,
    ParameterRepeated,
    UploadTooSlow,
)
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.nearest import nearest
from beholder.web.submission.form import Part, header_parameters, split_form

__all__ = ["IMAGE_FIELDS", "Reservation", "Upload", "UploadBudget", "read_body", "read_upload"]

_LENGTH_DIGITS_MAX = 18
_MONOTONIC = MonotonicClock()
# Of each upload in the mean of how long they are held.
_WEIGHT = 0.1

_NAME_CHARS_MAX = 50
_NAMES_MAX = 8
# Several files in one field, as RFC 2388 had them.
_NESTED = re.compile(rb"\s*--[^\r\n]{1,200}\r\ncontent-", re.IGNORECASE)
_TEXT_HEAD_BYTES = 64

IMAGE_FIELDS = ("myfile", "file", "image", "inputFile")


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent, with the text fields of its form.

    Args:
        data: The image.
        file_name: As it was sent, or 'image'.
        fields: Names and values of the form's text fields; an empty one is one that nobody filled in.
        text_field: Name of the form's field where it holds a text instead of a file; empty otherwise.
    """

    data: bytes
    file_name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    text_field: str = ""


class UploadBudget:
    """The bytes of uploads that one process holds in memory at once; used from the event loop only.

    Args:
        bytes_max: The bound.
        telemetry: Shows how much of it is used.
        asynchronous_share: The share of it beyond which asynchronous uploads are refused.
        clock: Tells how long uploads are held; only durations count.
    """

    def __init__(
        self,
        bytes_max: int,
        telemetry: Telemetry,
        *,
        asynchronous_share: float = 1.0,
        clock: Clock = _MONOTONIC,
    ) -> None:
        self._bytes_max = bytes_max
        self._asynchronous_bytes_max = bytes_max * asynchronous_share
        self._used = 0
        self._telemetry = telemetry
        self._clock = clock
        self._hold_s = 0.0

    @contextmanager
    def hold(self, *, waits: bool = True) -> Iterator["Reservation"]:
        """Hold the bytes of one upload for the time of the block, however it ends.

        Args:
            waits: Whether its caller waits for the outcome; asynchronous uploads are refused earlier.
        """
        hold = Reservation(self, waits=waits)
        began_s = self._clock.now_s()
        try:
            yield hold
        finally:
            if hold.count:
                self._hold_s += _WEIGHT * (self._clock.now_s() - began_s - self._hold_s)
            self._add(-hold.count, hold)

    def _check(self, count: int, hold: "Reservation") -> None:
        # Where nobody else holds anything, there is nobody to leave room for.
        is_bounded = not hold.waits and self._used > hold.count
        bytes_max = self._asynchronous_bytes_max if is_bounded else self._bytes_max
        if self._used + count > bytes_max and count > 0:
            raise Overloaded(
                "too many uploads are being received at once; try again after the time in Retry-After",
                retry_after_s=max(1, math.ceil(self._hold_s)),
            )

    def _add(self, count: int, hold: "Reservation") -> None:
        self._check(count, hold)
        self._used += count
        self._telemetry.upload_bytes.set(self._used)


class Reservation:
    """The bytes of one upload."""

    def __init__(self, budget: UploadBudget, *, waits: bool) -> None:
        self._budget = budget
        self.waits = waits
        self.count = 0

    def check(self, count: int) -> None:
        """Raise Overloaded where `count` bytes would not fit now; hold nothing for them."""
        self._budget._check(count, self)  # noqa: SLF001 -- one family, in one file

    def grow_to(self, count: int) -> None:
        """Hold at least `count` bytes; raises Overloaded where they do not fit."""
        if count > self.count:
            self._budget._add(count - self.count, self)  # noqa: SLF001 -- one family, in one file
            self.count = count


def read_upload(request: Request, limits: WebLimits, body: bytes) -> Upload:
    """Find the image in a body that was read.

    Raises:
        ImageMissing: There is none.
        MultipartMalformed: The form cannot be read.
        ImageTooLarge: The image has more bytes than allowed.
    """
    kind, parameters = header_parameters(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        boundary = parameters.get(b"boundary")
        if not boundary:
            raise MultipartMalformed(
                "the Content-Type header names no boundary; send multipart/form-data; boundary=..."
            )
        upload = _read_form(body, boundary, limits)
    else:
        upload = Upload(body, _raw_file_name(request))
    if not upload.data:
        raise ImageMissing
    if len(upload.data) > limits.image.image_bytes_max:
        raise _too_large(limits)
    return upload


async def read_body(request: Request, limits: WebLimits, hold: Reservation) -> bytes:
    """Return the request's body.

    Raises:
        ImageTooLarge: The body is longer than any allowed request; the rest of it is not read.
        Overloaded: The process holds as many bytes of uploads as it may.
        UploadTooSlow: The body did not come in time.
        ClientDisconnect: The client went away.
    """
    bytes_max = limits.image.image_bytes_max + limits.multipart_overhead_bytes_max
    declared = _declared_length(request.headers)
    if declared > bytes_max:
        raise _too_large(limits)
    hold.check(declared)
    read = 0
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(limits.upload_s_max):
            async for chunk in request.stream():
                read += len(chunk)
                if read > bytes_max:
                    raise _too_large(limits)
                # As the bytes come, not as they are announced: who announces and sends nothing holds nothing.
                hold.grow_to(read)
                chunks.append(chunk)
    except TimeoutError as exc:
        raise UploadTooSlow(f"the upload took longer than {limits.upload_s_max:g} s; send it again") from exc
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _declared_length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    # The first digits of a longer one say enough.
    return int(text.lstrip("0")[:_LENGTH_DIGITS_MAX] or "0") if text.isascii() and text.isdigit() else 0


def _too_large(limits: WebLimits) -> ImageTooLarge:
    return ImageTooLarge(
        f"the upload has more than {limits.image.image_bytes_max} bytes; "
        "send a smaller or more compressed image"
    )


def _raw_file_name(request: Request) -> str:
    named = request.query_params.get("file_name")
    if named:
        return named
    _, parameters = header_parameters(request.headers.get("content-disposition", ""))
    return parameters.get(b"filename", b"").decode("utf-8", "replace") or "image"


def _read_form(body: bytes, boundary: bytes, limits: WebLimits) -> Upload:
    parts = split_form(
        body,
        boundary,
        parts_max=limits.multipart_parts_max,
        head_bytes_max=limits.multipart_head_bytes_max,
    )
    image = _image_of(parts)
    name = image.file_name or "image"
    return Upload(image.data, name, _fields_of(parts), "" if _is_file(image) else image.name)


def _is_file(part: Part) -> bool:
    """Say whether a part is a file; some clients give a file no name, but no text has such bytes."""
    return part.file_name is not None or (part.name in IMAGE_FIELDS and not _is_text(part.data))


def _is_text(data: bytes) -> bool:
    """Say whether the first bytes are text; no image begins so."""
    # The last character may be cut in two.
    head = data[:_TEXT_HEAD_BYTES].decode("utf-8", "replace").rstrip("\ufffd")
    return "\ufffd" not in head and all(char.isprintable() or char in "\r\n\t" for char in head)


def _image_of(parts: Sequence[Part]) -> Part:
    """Return the part that is the image: a file before a text, and never an empty part where another is.

    Raises:
        ImageMissing: There is none.
        ImagesTooMany: There are several, and nobody knows which one was meant.
    """
    named = [part for part in parts if part.name in IMAGE_FIELDS]
    files = [part for part in parts if _is_file(part) and part.data]
    if len(files) > 1:
        names = ", ".join(repr(part.name[:_NAME_CHARS_MAX]) for part in files[:_NAMES_MAX])
        raise ImagesTooMany(f"the form holds {len(files)} files ({names}); send one image in each request")
    if not named or (files and files[0].name not in IMAGE_FIELDS):
        raise ImageMissing(_without_image(parts))
    image = next(iter(files or [part for part in named if part.data] or named))
    if _NESTED.match(image.data):
        raise ImagesTooMany(
            f"the field {image.name} holds a form of its own, as clients write for several files; "
            "send one image in each request"
        )
    return image


def _fields_of(parts: Sequence[Part]) -> dict[str, str]:
    """Return the text fields.

    Raises:
        ParameterRepeated: One stands there twice.
    """
    fields: dict[str, str] = {}
    for part in parts:
        if part.file_name is not None or part.name in IMAGE_FIELDS or not part.data:
            continue
        if part.name in fields:
            name = part.name[:_NAME_CHARS_MAX]
            raise ParameterRepeated(f"{name!r} is given more than once in the form; give it once")
        fields[part.name] = part.data.decode("utf-8", "replace")
    return fields


def _without_image(parts: Sequence[Part]) -> str:
    names = ", ".join(repr(part.name[:_NAME_CHARS_MAX]) for part in parts[:_NAMES_MAX]) or "none"
    meant = next((name for part in parts if (name := nearest(part.name, IMAGE_FIELDS))), None)
    hint = f"did you mean {meant}?" if meant else "send the image as one of these"
    return f"the form has no field named {', '.join(IMAGE_FIELDS)} (its fields: {names}); {hint}"
