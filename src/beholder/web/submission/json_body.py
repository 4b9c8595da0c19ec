"""Requests as JSON: their members, and images as text, in base64 with or without a data URL around it."""

import base64
import binascii
import json
import re
from collections.abc import Collection
from typing import Any

from beholder.errors import BadParameter, ImageByUrl, ParameterUnknown

__all__ = ["check_members", "decode_base64", "read_json"]

_SHOWN_CHARS_MAX = 50
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
