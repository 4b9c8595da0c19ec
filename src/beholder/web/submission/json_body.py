"""Requests as JSON: their members, and images as text, in base64 with or without a data URL around it."""

import asyncio
import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request

from beholder.errors import (
    BadParameter,
    ImageByUrl,
    ImageMissing,
    ParameterRepeated,
    ParameterUnknown,
    UploadTooSlow,
)
from beholder.web.limits import WebLimits
from beholder.web.submission.upload import S3Object, Upload, find_image, find_images

__all__ = [
    "check_members",
    "decode_base64",
    "find_in_json",
    "image_in_text",
    "is_json",
    "read_json",
    "read_s3_object",
    "read_small_json",
    "text_fields_of",
]

_SHOWN_CHARS_MAX = 50
_SMALL_BYTES_MAX = 4_096
# Source: Amazon S3 user guide, Bucket naming rules; Object key naming (2026-11).
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_BYTES_MAX = 1_024
_VERSION_BYTES_MAX = 1_024
_JSON, _S3 = "application/json", "s3://"
_DATA_URL = re.compile(r"data:[\w.+/-]{0,100}(?:;[\w.+=-]{1,100}){0,8};base64,", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"(?:https?|ftp|file|s3|gs)://", re.ASCII | re.IGNORECASE)
_IMAGES = ("image", "url", "s3", "upload")  # the members of which a request has one
# Base64 of other alphabets and with line breaks, as MIME and URLs write it.
_PLAIN = str.maketrans("-_", "+/", " \t\r\n")


def decode_base64(text: str, name: str) -> bytes:
    """Return the bytes in a base64 text or a data URL.

    Args:
        text: The text.
        name: What the request calls it.

    Raises:
        ImageByUrl: The text is an address.
        BadParameter: The text is no base64.
    """
    if _URL.match(text):
        raise ImageByUrl(f"{name} is an address, not an image; download the image and send its bytes")
    found = _DATA_URL.match(text)
    letters = (text[found.end() :] if found else text).translate(_PLAIN).rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        shown = text[:_SHOWN_CHARS_MAX]
        raise BadParameter(
            f"{name} is {shown!r}, which is no base64; send the image's bytes in base64"
        ) from exc


def image_in_text(text: str, name: str, limits: WebLimits) -> Upload:
    """Return the image in a base64 text or a data URL, or the address that the text is.

    Args:
        text: The text.
        name: What the request calls it.
        limits: The limits of the HTTP interface.

    Raises:
        BadParameter: The text is no base64.
        ImageMissing: The text is empty.
        ImageTooLarge: The image has more bytes than allowed.
    """
    if text[: len(_S3)].lower() == _S3:
        return _upload_of(read_s3_object(text))
    if _URL.match(text):
        return Upload(b"", PurePosixPath(text.partition("?")[0]).name or "image", url=text)
    return find_image(Headers(raw=[]), decode_base64(text, name), limits)


def read_s3_object(document: Any, names: Sequence[str] = ("bucket", "key", "version")) -> S3Object:
    """Return the object that a member of a request names.

    Args:
        document: A text such as `s3://bucket/key`, or an object with three members.
        names: What the three members are called; the last may be missing.

    Raises:
        BadParameter: It names no object.
        ParameterUnknown: It has another member.
    """
    if isinstance(document, str):
        scheme, _, place = document.partition("://")
        bucket, _, key = place.partition("/")
        found: Sequence[Any] = (bucket if scheme.lower() == "s3" else "", key, None)
    else:
        check_members(document, names, "the name of an object in S3")
        found = [document.get(name) for name in names]
    bucket, key, version = found
    is_key = isinstance(key, str) and 0 < len(key.encode(errors="replace")) <= _KEY_BYTES_MAX
    is_version = version is None or (isinstance(version, str) and 0 < len(version) <= _VERSION_BYTES_MAX)
    if not (isinstance(bucket, str) and _BUCKET.fullmatch(bucket) and is_key and is_version):
        raise BadParameter("the request names no object in S3; write s3://bucket/key, or its bucket and key")
    return S3Object(bucket, str(key), version)


def _upload_of(place: S3Object) -> Upload:
    return Upload(b"", PurePosixPath(place.key).name or "image", s3=place)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        BadParameter: The body is no JSON object.
        ParameterRepeated: An object in it has a member twice.
    """
    try:
        document = json.loads(
            body, parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_members
        )
    except (ValueError, RecursionError) as exc:
        raise BadParameter("the body is no JSON; send a JSON object in UTF-8") from exc
    if not isinstance(document, dict):
        raise BadParameter("the body is JSON, but no object; send a JSON object")
    return document


async def read_small_json(request: Request, known: Collection[str], limits: WebLimits) -> dict[str, Any]:
    """Return the JSON object that is the body of a request without an image.

    Args:
        request: The request; no content type is trusted, so its own is not read.
        known: The members that it may have.
        limits: The limits of the HTTP interface.

    Raises:
        BadParameter: The body is no JSON object, or longer than any that is asked for.
        ParameterRepeated: An object in it has a member twice.
        ParameterUnknown: It has another member.
        UploadTooSlow: The body did not arrive in time.
        ClientDisconnect: The client went away.
    """
    body = b""
    try:
        async with asyncio.timeout(limits.upload_s_max):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _SMALL_BYTES_MAX:
                    raise BadParameter(
                        f"the body has more than {_SMALL_BYTES_MAX} bytes; send a JSON object with "
                        f"{', '.join(sorted(known))}"
                    )
    except TimeoutError as exc:
        raise UploadTooSlow(f"the body took longer than {limits.upload_s_max:g} s; send it again") from exc
    document = read_json(body)
    check_members(document, known, "the request")
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a document; none of its members may occur twice, as no parameter may."""
    found = dict(pairs)
    if len(found) < len(pairs):
        # Counted in one pass: a body of 1 MB may have 100,000 members.
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ParameterRepeated(
            f"{name[:_SHOWN_CHARS_MAX]!r} is given more than once in the body; give it once"
        )
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    """Return a number; a whole one is an int however it is written, for JSON has one kind of numbers.

    Source: JSON Schema 2020-12, core, section 4.2.3 ("mathematical integers"), read 2026-11.
    """
    value = float(text)
    return int(value) if value.is_integer() else value


def check_members(document: Any, known: Collection[str], name: str) -> None:
    """Refuse what is no object, or has members that the service does not honour.

    Args:
        document: A part of a request.
        known: The members that it may have.
        name: What it is called.

    Raises:
        BadParameter: It is no object.
        ParameterUnknown: It has another member.
    """
    if not isinstance(document, dict):
        raise BadParameter(f"{name} is no object; send one")
    for member in document.keys() - set(known):
        raise ParameterUnknown(
            f"{name} has the member {member[:_SHOWN_CHARS_MAX]!r}, which the service does not honour; "
            f"it takes {', '.join(sorted(known))}"
        )


def is_json(headers: Headers) -> bool:
    """Return whether a request says that its body is JSON."""
    media_type = headers.get("content-type", "")[: len(_JSON)]
    return media_type.lower() == _JSON


def text_fields_of(document: dict[str, Any], names: Collection[str]) -> dict[str, str]:
    """Return the options among the members of a document as text, as a form has them; null is none."""
    given = {name: document[name] for name in names if document.get(name) is not None}
    return {name: json.dumps(one) if isinstance(one, list) else str(one) for name, one in given.items()}


def find_in_json(options: Collection[str]) -> Callable[[Headers, bytes, WebLimits], Upload]:
    """Return how to find an image in JSON, as its member `image`, or images in any other body.

    Args:
        options: The members that may accompany the image.
    """

    def find_it(headers: Headers, body: bytes, limits: WebLimits) -> Upload:
        # A client may state this type for an image, since no content type is trusted.
        if not is_json(headers) or not body.lstrip().startswith(b"{"):
            return find_images(headers, body, limits)
        document = read_json(body)
        check_members(document, (*_IMAGES, *options), "the request")
        given = [document[name] for name in _IMAGES if name in document]
        if len(given) != 1 or not given[0]:
            raise ImageMissing(
                f"the request has not one of {', '.join(_IMAGES)}; send the image in base64 as image"
            )
        if "upload" in document:
            upload = Upload(b"", "image", upload_id=str(given[0]))
        elif "s3" in document:
            upload = _upload_of(read_s3_object(given[0]))
        elif isinstance(given[0], str):
            upload = image_in_text(given[0], "image", limits)
        else:
            raise ImageMissing(
                "the request has no text as image or as url; send the image in base64 as image"
            )
        return replace(upload, fields=text_fields_of(document, options))

    return find_it
