"""Checks an image by its header; if the bytes are no image, names the mistake that clients commonly make."""

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from beholder.errors import (
    ImageBytesChanged,
    ImageEncoded,
    ImageHeaderInvalid,
    ImageNameOnly,
    ImageTypeUnsupported,
    MultipartMalformed,
)
from beholder.model.decode.header import ImageHeader, read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.sniff import holds_base64

__all__ = ["check_image", "naming_coding"]

_SHOWN_CHARS_MAX = 80
_NAME_BYTES_MAX = 1000
# The header of every format has a null byte within these.
_HEAD_BYTES = 32
_TEXT_BYTES = 512
_FILE_NAME = re.compile(
    rb"(?:[\w-]{1,40}=)?@?[^\r\n\0]{1,500}\.(?:jpe?g|jpe|jfif|mpo|a?png|webp|gif|tiff?|bmp|hei[cf]|avif)\s*",
    re.IGNORECASE,
)
_FORM = re.compile(rb"\s*--[^\r\n]{1,200}\r?\n(?i:content-)")
# What `curl --data-urlencode` sends: perhaps a field's name, then a text that begins with an escape.
_URLENCODED = re.compile(rb"[\w.-]{1,40}=|(?=[\w.~+-]{0,8}%[\w.~+%-]*\Z)")
_PNG = b"\x89PNG\r\n\x1a\n"
# The first bytes of images that some program has converted as if they were text in UTF-8 or Latin-1.
_RECODED = (b"\xef\xbf\xbd", b"\xc3\xbf\xc3\x98", b"\xc2\x89PNG")
# The first bytes of images that `curl -d` sent, which drops line breaks and null bytes.
_STRIPPED = (b"\xff\xd8\xff", b"\x89PNG\x1a", b"GIF8", b"RIFF", b"II*", b"MM*", b"BM")


def check_image(data: bytes, limits: ImageLimits, *, text_field: str = "") -> ImageHeader:
    """Return the image's header; if the bytes are no image, raise the error of the client's mistake.

    Args:
        data: The image as it was sent.
        limits: The limits of an image.
        text_field: Name of the form's field that held the bytes as text; empty otherwise.

    Raises:
        ImageBytesChanged: The bytes were an image before some program converted them as text.
        ImageEncoded: The bytes are an image in base64 or another encoding.
        ImageNameOnly: The bytes are the name of a file.
        MultipartMalformed: The bytes are a form, and the Content-Type header does not say so.
        RequestError: As `read_header`.
    """
    if _is_stripped(data) or _url_decoded(data).startswith((*_STRIPPED, b"\x89PNG")):
        raise ImageBytesChanged
    try:
        return read_header(data, limits)
    except ImageHeaderInvalid as exc:
        # A file name such as MM*.png or BMW.jpg begins like an image.
        if _FILE_NAME.fullmatch(data[:_NAME_BYTES_MAX]):
            raise ImageNameOnly(_name_only(data, text_field)) from exc
        raise
    except ImageTypeUnsupported as exc:
        if type(exc) is ImageTypeUnsupported:
            _refuse_mistake(data, text_field)
        raise


@contextlib.contextmanager
def naming_coding(coding: str) -> Iterator[None]:
    """Name the body's content coding, which the service does not decode, if the block finds no image.

    Args:
        coding: The Content-Encoding header; empty if there is none.

    Raises:
        ImageEncoded: In place of `MultipartMalformed` and `ImageTypeUnsupported`.
    """
    try:
        yield
    except (MultipartMalformed, ImageTypeUnsupported) as exc:
        if coding.strip().lower() in ("", "identity"):
            raise
        raise ImageEncoded(
            f"no image is found in a body with the Content-Encoding {coding[:_SHOWN_CHARS_MAX]!r}, "
            "which the service does not decode; send the image's bytes as they are, without that header"
        ) from exc


def _is_stripped(data: bytes) -> bool:
    """Return whether data begins like an image, but has none of an image's null bytes and line breaks."""
    if len(data) < _HEAD_BYTES or not data.startswith(_STRIPPED) or data[:_TEXT_BYTES].isascii():
        return False
    return b"\0" not in data and b"\n" not in data and b"\r" not in data


def _url_decoded(data: bytes) -> bytes:
    """Return the decoded beginning of a URL-encoded body; empty if the body is not URL-encoded."""
    head = data[:_NAME_BYTES_MAX]
    encoded = _URLENCODED.match(head)
    return unquote_to_bytes(head[encoded.end() :]) if encoded else b""


def _refuse_mistake(data: bytes, text_field: str) -> None:
    """Raise the error of the mistake that produced bytes that are no image; return if none is known."""
    head = data[:_NAME_BYTES_MAX]
    if head.startswith(_RECODED) or (head.startswith(b"\x89PNG") and not head.startswith(_PNG)):
        raise ImageBytesChanged
    if _FORM.match(head):
        raise MultipartMalformed(
            "the body is a form, but the Content-Type header does not say so with its boundary; "
            "let the client write that header itself"
        )
    if text_field or (len(data) < _NAME_BYTES_MAX and _FILE_NAME.fullmatch(head)):
        raise ImageNameOnly(_name_only(data, text_field))
    value = _url_decoded(head)
    if value[:5].lower() == b"data:" or holds_base64(value):
        raise ImageEncoded


def _name_only(data: bytes, text_field: str) -> str:
    shown = data[:_SHOWN_CHARS_MAX].decode("utf-8", "replace").strip()
    if text_field:
        return (
            f"the field {text_field} holds the text {shown!r} and no file; "
            f"with curl, write an @ before the file's name: -F {text_field}=@photo.jpg"
        )
    return (
        f"the body is the text {shown!r} and no image; "
        "with curl, write an @ before the file's name: --data-binary @photo.jpg"
    )
