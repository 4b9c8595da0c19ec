"""Reads an upload: its body within a budget of bytes, the image in it, and the image's header."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.clock import Clock, MonotonicClock
from beholder.errors import (
    ImageByUrl,
    ImageMissing,
    ImageTooLarge,
    MultipartMalformed,
    Overloaded,
    UploadTooSlow,
)
from beholder.model.decode.cost import decode_cost_pixels
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.submission.form import header_parameters, image_part, split_form, text_fields
from beholder.web.submission.image_check import check_image, naming_coding

__all__ = [
    "Fetch",
    "Reservation",
    "Upload",
    "UploadBudget",
    "UploadFormat",
    "find_image",
    "read_body",
    "read_upload",
]

_LENGTH_DIGITS_MAX = 18
_MONOTONIC = MonotonicClock()
# The weight of each upload in the mean of how long uploads are held.
_WEIGHT = 0.1
# Splitting a form of many megabytes takes tenths of a second, too long for the event loop.
_LARGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as it was sent, with the text fields of its form.

    Args:
        data: The image.
        file_name: The name of the file as sent, or 'image'.
        fields: Names and values of the form's text fields.
        text_field: Name of the image's field if that contains a text instead of a file; empty otherwise.
        is_heavy: Whether decoding the image takes much time or memory, by its header.
        idempotency_key: What in the body identifies the request across repetitions; None if nothing does.
        url: The address that the request holds instead of the image; empty if it holds the image.
    """

    data: bytes
    file_name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    text_field: str = ""
    is_heavy: bool = False
    idempotency_key: str | None = None
    url: str = ""


class UploadBudget:
    """The bytes of uploads that one process may hold in memory at once; used from the event loop only.

    Args:
        bytes_max: The budget.
        telemetry: Reports how much of it is used.
        asynchronous_share: The share of it beyond which asynchronous uploads are refused.
        clock: Measures how long uploads are held.
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
        self._held_s = 0.0

    @contextmanager
    def reserve(self, *, waits: bool = True) -> Iterator["Reservation"]:
        """Reserve the bytes of one upload until the block ends.

        Args:
            waits: Whether the caller waits for the outcome; asynchronous uploads are refused earlier.
        """
        reservation = Reservation(self, waits=waits)
        began_s = self._clock.now_s()
        try:
            yield reservation
        finally:
            if reservation.count:
                self._held_s += _WEIGHT * (self._clock.now_s() - began_s - self._held_s)
            self._add(-reservation.count, reservation)

    def _check(self, count: int, reservation: "Reservation") -> None:
        # A single asynchronous upload keeps out no other upload, so it may use the whole budget.
        is_bounded = not reservation.waits and self._used > reservation.count
        bytes_max = self._asynchronous_bytes_max if is_bounded else self._bytes_max
        if self._used + count > bytes_max and count > 0:
            raise Overloaded(
                "too many uploads are being received at once; try again after the time in Retry-After",
                retry_after_s=max(1, math.ceil(self._held_s)),
            )

    def _add(self, count: int, reservation: "Reservation") -> None:
        self._check(count, reservation)
        self._used += count
        self._telemetry.upload_bytes.set(self._used)


class Reservation:
    """The part of the budget that one upload holds."""

    def __init__(self, budget: UploadBudget, *, waits: bool) -> None:
        self._budget = budget
        self.waits = waits
        self.count = 0

    def check(self, count: int) -> None:
        """Raise Overloaded if `count` more bytes do not fit now; reserve nothing."""
        self._budget._check(count, self)  # noqa: SLF001 -- one family, in one file

    def grow_to(self, count: int) -> None:
        """Reserve at least `count` bytes; raise Overloaded if they do not fit."""
        if count > self.count:
            self._budget._add(count - self.count, self)  # noqa: SLF001 -- one family, in one file
            self.count = count


Fetch = Callable[[str, Reservation], Awaitable[bytes]]
"""Returns the file at a URL, whose bytes the reservation counts."""


async def read_upload(
    request: Request,
    upload_format: "UploadFormat",
    limits: WebLimits,
    reservation: Reservation,
    fetch: Fetch | None = None,
) -> Upload:
    """Read a request's body, find the image in it, and check the image's header.

    Args:
        request: The request, whose body is not read yet.
        upload_format: How the request's path takes an image.
        limits: The limits of the HTTP interface.
        reservation: Counts the body's bytes.
        fetch: Fetches an image that the request has the address of; None if addresses are refused.

    Raises:
        ImageByUrl: The request has an address, and addresses are refused.
        RequestError: As `read_body`, the format's `find` and `check_image`.
        ClientDisconnect: The client went away.
    """
    body = await read_body(request, limits, reservation, is_base64=upload_format.is_base64(request.headers))
    with naming_coding(request.headers.get("content-encoding", "")):
        if len(body) > _LARGE_BYTES:
            upload = await asyncio.to_thread(upload_format.find, request.headers, body, limits)
        else:
            upload = upload_format.find(request.headers, body, limits)
        del body  # a form's image is a copy
        if upload.url:
            if fetch is None:
                raise ImageByUrl
            upload = replace(upload, data=await fetch(upload.url, reservation))
            if not upload.data:
                raise ImageMissing
        header = check_image(upload.data, limits.image, text_field=upload.text_field)
    is_heavy = decode_cost_pixels(header, len(upload.data)) >= limits.heavy_pixels_min
    return replace(upload, is_heavy=is_heavy) if is_heavy else upload


async def read_body(
    request: Request, limits: WebLimits, reservation: Reservation, *, is_base64: bool = False
) -> bytes:
    """Return the request's body.

    Args:
        request: The request.
        limits: The limits of the HTTP interface.
        reservation: Counts the body's bytes.
        is_base64: Whether the image may be written in base64, so that the body may be a third longer.

    Raises:
        ImageTooLarge: The body is longer than any allowed request; the rest of it is not read.
        Overloaded: The body does not fit in the budget of bytes.
        UploadTooSlow: The body did not arrive in time.
        ClientDisconnect: The client went away.
    """
    image_bytes_max = limits.image.image_bytes_max
    if is_base64:
        image_bytes_max = math.ceil(image_bytes_max / 3) * 4
    bytes_max = image_bytes_max + limits.multipart_overhead_bytes_max
    declared = _declared_length(request.headers)
    if declared > bytes_max:
        raise _too_large(limits)
    reservation.check(declared)
    read = 0
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(limits.upload_s_max):
            async for chunk in request.stream():
                read += len(chunk)
                if read > bytes_max:
                    raise _too_large(limits)
                # Reserved as the bytes arrive, so that a client that sends nothing reserves nothing.
                reservation.grow_to(read)
                chunks.append(chunk)
    except TimeoutError as exc:
        raise UploadTooSlow(f"the upload took longer than {limits.upload_s_max:g} s; send it again") from exc
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def find_image(headers: Headers, body: bytes, limits: WebLimits) -> Upload:
    """Return the image in a body: in a part of a multipart form, or the body itself.

    Raises:
        ImageMissing: The body contains no image.
        ImagesTooMany: The form contains several files.
        ImageTooLarge: The image has more bytes than allowed.
        MultipartMalformed: The form cannot be read.
        ParameterRepeated: A field of the form occurs twice.
    """
    content_type, parameters = header_parameters(headers.get("content-type", ""))
    if content_type == b"multipart/form-data":
        upload = _find_in_form(body, parameters.get(b"boundary", b""), limits)
    else:
        _, parameters = header_parameters(headers.get("content-disposition", ""))
        upload = Upload(body, parameters.get(b"filename", b"").decode("utf-8", "replace") or "image")
    if not upload.data:
        raise ImageMissing
    if len(upload.data) > limits.image.image_bytes_max:
        raise _too_large(limits)
    return upload


@dataclass(frozen=True, slots=True)
class UploadFormat:
    """How the requests of a path hold an image and its options.

    Args:
        known: Names of the parameters that the path takes.
        find: Returns the image in a body, with its options as text fields.
        is_base64: Whether a request may hold the image in base64, so that its body may be a third longer.
        wants_text: Whether the caller is a classic client, which expects the best label as text.
    """

    known: Sequence[str]
    find: Callable[[Headers, bytes, WebLimits], Upload] = find_image
    is_base64: Callable[[Headers], bool] = lambda _: False
    wants_text: bool = False


def _find_in_form(body: bytes, boundary: bytes, limits: WebLimits) -> Upload:
    if not boundary:
        raise MultipartMalformed(
            "the Content-Type header names no boundary; send multipart/form-data; boundary=..."
        )
    parts = split_form(
        body,
        boundary,
        parts_max=limits.multipart_parts_max,
        head_bytes_max=limits.multipart_head_bytes_max,
    )
    image = image_part(parts)
    text_field = "" if image.is_file else image.name
    return Upload(image.data, image.file_name or "image", text_fields(parts), text_field)


def _declared_length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    # The first digits of a longer number show that it is too large.
    return int(text.lstrip("0")[:_LENGTH_DIGITS_MAX] or "0") if text.isascii() and text.isdigit() else 0


def _too_large(limits: WebLimits) -> ImageTooLarge:
    return ImageTooLarge(
        f"the upload has more than {limits.image.image_bytes_max} bytes; "
        "send a smaller or more compressed image"
    )
