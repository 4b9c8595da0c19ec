"""Reads an upload: its body within a budget of bytes, the image in it, and the image's header."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.errors import (
    BucketRefused,
    ImageByUrl,
    ImageMissing,
    ImageTooLarge,
    MultipartMalformed,
    RequestError,
    UploadTooSlow,
)
from beholder.model.decode.cost import PIXELS_PER_BYTE, decode_cost_pixels
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.submission.form import (
    Part,
    header_parameters,
    image_part,
    image_parts,
    split_form,
    text_fields,
)
from beholder.web.submission.image_check import check_image, naming_coding
from beholder.web.submission.upload_budget import Reservation
from beholder.web.webhooks.record import Webhook

__all__ = [
    "Fetch",
    "FetchS3",
    "ImageFetchers",
    "S3Object",
    "StoredImage",
    "Upload",
    "UploadFormat",
    "checked",
    "find_image",
    "find_images",
    "read_body",
    "read_upload",
]

_LENGTH_DIGITS_MAX = 18
# Splitting a form of many megabytes takes tenths of a second, too long for the event loop.
_LARGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object in a bucket of S3; `version` is None for the newest."""

    bucket: str
    key: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the input bucket, and the id of the job that it has, or may get if a link brought it."""

    job_id: str
    key: str
    size_bytes: int


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
        s3: The object that the request names instead; None if it names none.
        upload_id: The direct upload that the request names instead; empty if it names none.
        stored: The image of that upload.
        more: The further images of a form that holds several.
        error: Why this one of several images is refused; None if it is not.
        webhook: Where the events are sent, if the body says that beside its text fields; otherwise None.
    """

    data: bytes
    file_name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    text_field: str = ""
    is_heavy: bool = False
    idempotency_key: str | None = None
    url: str = ""
    s3: S3Object | None = None
    upload_id: str = ""
    stored: StoredImage | None = None
    more: tuple["Upload", ...] = ()
    error: RequestError | None = None
    webhook: Webhook | None = None


Fetch = Callable[[str, Reservation], Awaitable[bytes]]
"""Returns the file at a URL, whose bytes the reservation counts."""
FetchS3 = Callable[[S3Object, Reservation], Awaitable[bytes]]
"""Returns the bytes of an object, which the reservation counts."""

FindUpload = Callable[[str, str], Awaitable[StoredImage]]
"""Returns the image of a direct upload, by the id of the caller's API key and of the upload."""


@dataclass(frozen=True, slots=True)
class ImageFetchers:
    """How images are found that a request only names; None for what is refused."""

    url: Fetch | None = None
    s3: FetchS3 | None = None
    upload: FindUpload | None = None

    async def complete(self, upload: Upload, reservation: Reservation) -> Upload:
        """Return the upload with its image.

        Raises:
            ImageByUrl: It has an address, and addresses are refused.
            BucketRefused: It names an object, and the service reads no bucket.
            ImageMissing: What was fetched is empty.
            RequestError: What it names is refused, or cannot be read.
        """
        if upload.s3 is not None:
            if self.s3 is None:
                raise BucketRefused
            data = await self.s3(upload.s3, reservation)
        elif upload.url:
            if self.url is None:
                raise ImageByUrl
            data = await self.url(upload.url, reservation)
        else:
            return upload
        if not data:
            raise ImageMissing
        return replace(upload, data=data)


async def read_upload(
    request: Request,
    upload_format: "UploadFormat",
    limits: WebLimits,
    reservation: Reservation,
    fetchers: ImageFetchers,
) -> Upload:
    """Read a request's body, find its images, and check their headers.

    Of several images, one that is refused does not affect the others: it has its error.

    Args:
        request: The request, whose body is not read yet.
        upload_format: How the request's path takes an image.
        limits: The limits of the HTTP interface.
        reservation: Counts the body's bytes.
        fetchers: Fetch an image that the request only names.

    Raises:
        RequestError: As `read_body`, the format's `find`, `ImageFetchers.complete` and `check_image`.
        ClientDisconnect: The client went away.
    """
    body = await read_body(request, limits, reservation, is_base64=upload_format.is_base64(request.headers))
    with naming_coding(request.headers.get("content-encoding", "")):
        if len(body) > _LARGE_BYTES:
            upload = await asyncio.to_thread(upload_format.find, request.headers, body, limits)
        else:
            upload = upload_format.find(request.headers, body, limits)
        del body  # a form's image is a copy
        if upload.upload_id and fetchers.upload is not None:
            stored = await fetchers.upload(entry_of(request.scope).key_id, upload.upload_id)
            # No header was read, so the length decides.
            is_heavy = stored.size_bytes * PIXELS_PER_BYTE >= limits.heavy_pixels_min
            return replace(upload, stored=stored, is_heavy=is_heavy)
        if upload.more:
            more = tuple(_checked_or_error(one, limits) for one in upload.more)
            return replace(_checked_or_error(upload, limits), more=more)
        return checked(await fetchers.complete(upload, reservation), limits)


def checked(upload: Upload, limits: WebLimits) -> Upload:
    """Return an upload whose image's header is checked.

    Raises:
        RequestError: As `check_image`.
    """
    header = check_image(upload.data, limits.image, text_field=upload.text_field)
    is_heavy = decode_cost_pixels(header, len(upload.data)) >= limits.heavy_pixels_min
    return replace(upload, is_heavy=is_heavy) if is_heavy else upload


def _checked_or_error(upload: Upload, limits: WebLimits) -> Upload:
    try:
        _check_size(upload, limits)
        return checked(upload, limits)
    except RequestError as exc:
        return replace(upload, data=b"", error=exc)


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
    return _find(headers, body, limits, lambda parts: [image_part(parts)])


def find_images(headers: Headers, body: bytes, limits: WebLimits) -> Upload:
    """Do as `find_image`, but take every image of a form, as `more` of the first.

    Raises:
        ImageMissing: The body contains no image.
        ImagesTooMany: The form contains more files than allowed.
        ImageTooLarge: The only image has more bytes than allowed.
        MultipartMalformed: The form cannot be read.
        ParameterRepeated: A text field of the form occurs twice.
        ParameterUnknown: One of several files is in a field that is not an image's.
    """
    count_max = limits.multipart_images_max
    return _find(headers, body, limits, lambda parts: image_parts(parts, count_max=count_max))


def _find(
    headers: Headers, body: bytes, limits: WebLimits, choose: Callable[[Sequence[Part]], Sequence[Part]]
) -> Upload:
    content_type, parameters = header_parameters(headers.get("content-type", ""))
    if content_type == b"multipart/form-data":
        upload = _find_in_form(body, parameters.get(b"boundary", b""), limits, choose)
    else:
        _, parameters = header_parameters(headers.get("content-disposition", ""))
        upload = Upload(body, parameters.get(b"filename", b"").decode("utf-8", "replace") or "image")
    if not upload.more:
        _check_size(upload, limits)
    return upload


def _check_size(upload: Upload, limits: WebLimits) -> None:
    if not upload.data:
        raise ImageMissing
    if len(upload.data) > limits.image.image_bytes_max:
        raise _too_large(limits)


@dataclass(frozen=True, slots=True)
class UploadFormat:
    """How the requests of a path hold an image and its options.

    Args:
        known: Names of the parameters that the path takes.
        find: Returns the image in a body, with its options as text fields.
        is_base64: Whether a request may hold the image in base64, so that its body may be a third longer.
        wants_text: Whether the caller is a classic client, which expects the best label as text.
        wants_embedding: Whether the path answers with an embedding instead of labels.
    """

    known: Sequence[str]
    find: Callable[[Headers, bytes, WebLimits], Upload] = find_image
    is_base64: Callable[[Headers], bool] = lambda _: False
    wants_text: bool = False
    wants_embedding: bool = False


def _find_in_form(
    body: bytes, boundary: bytes, limits: WebLimits, choose: Callable[[Sequence[Part]], Sequence[Part]]
) -> Upload:
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
    image, *more = [
        Upload(one.data, one.file_name or "image", text_field="" if one.is_file else one.name)
        for one in choose(parts)
    ]
    return replace(image, fields=text_fields(parts), more=tuple(more))


def _declared_length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    # The first digits of a longer number show that it is too large.
    return int(text.lstrip("0")[:_LENGTH_DIGITS_MAX] or "0") if text.isascii() and text.isdigit() else 0


def _too_large(limits: WebLimits) -> ImageTooLarge:
    return ImageTooLarge(
        f"the upload has more than {limits.image.image_bytes_max} bytes; "
        "send a smaller or more compressed image"
    )
