"""Requests as JSON: their members, and images as text, in base64 with or without a data URL around it."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from starlette.datastructures import Headers

from beholder.errors import BadParameter, ImageByUrl, ImageMissing, ParameterUnknown
from beholder.web.limits import WebLimits
from beholder.web.submission.upload import Upload, find_image

__all__ = [
    "check_members",
    "decode_base64",
    "find_in_json",
    "image_in_text",
    "is_json",
    "read_json",
    "text_fields_of",
]

_SHOWN_CHARS_MAX = 50
_JSON = "application/json"
_DATA_URL = re.compile(r"data:[\w.+/-]{0,100}(?:;[\w.+=-]{1,100}){0,8};base64,", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"(?:https?|ftp|file|s3|gs)://", re.ASCII | re.IGNORECASE)
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
    if _URL.match(text):
        return Upload(b"", PurePosixPath(text.partition("?")[0]).name or "image", url=text)
    return find_image(Headers(raw=[]), decode_base64(text, name), limits)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        BadParameter: The body is no JSON object.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadParameter("the body is no JSON; send a JSON object in UTF-8") from exc
    if not isinstance(document, dict):
        raise BadParameter("the body is JSON, but no object; send a JSON object")
    return document


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
    return {name: str(document[name]) for name in names if document.get(name) is not None}


def find_in_json(options: Collection[str]) -> Callable[[Headers, bytes, WebLimits], Upload]:
    """Return how to find an image in JSON, as its member `image`, or in any other body.

    Args:
        options: The members that may accompany the image.
    """

    def find_it(headers: Headers, body: bytes, limits: WebLimits) -> Upload:
        # A client may state this type for an image, since no content type is trusted.
        if not is_json(headers) or not body.lstrip().startswith(b"{"):
            return find_image(headers, body, limits)
        document = read_json(body)
        check_members(document, ("image", "url", *options), "the request")
        text = document.get("image", document.get("url"))
        if not isinstance(text, str) or not text or {"image", "url"} <= document.keys():
            raise ImageMissing(
                "the request has no text as image or as url; send the image in base64 as image"
            )
        upload = image_in_text(text, "image", limits)
        return replace(upload, fields=text_fields_of(document, options))

    return find_it
