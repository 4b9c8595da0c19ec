"""Checks an upload's header, and tells the common mistakes of clients from other bytes that are no image."""

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
from beholder.web.submission.upload import Upload

__all__ = ["check_image", "naming_coding"]

_SHOWN_CHARS_MAX = 80
_NAME_BYTES_MAX = 1000
# Each format has a null byte by then.
_HEAD_BYTES = 32
_TEXT_BYTES = 512
_FILE_NAME = re.compile(
    rb"(?:[\w-]{1,40}=)?@?[^\r\n\0]{1,500}\.(?:jpe?g|jpe|jfif|mpo|a?png|webp|gif|tiff?|bmp|hei[cf]|avif)\s*",
    re.IGNORECASE,
)
_FORM = re.compile(rb"\s*--[^\r\n]{1,200}\r?\n(?i:content-)")
# What `curl --data-urlencode` writes: a field's name where it has one, or a text whose head needs an escape.
_URLENCODED = re.compile(rb"[\w.-]{1,40}=|(?=[\w.~+-]{0,8}%[\w.~+%-]*\Z)")
_PNG = b"\x89PNG\r\n\x1a\n"
# The beginnings of images that went through something which takes them for text of UTF-8 or Latin-1.
_RECODED = (b"\xef\xbf\xbd", b"\xc3\xbf\xc3\x98", b"\xc2\x89PNG")
# What curl -d leaves of the beginnings of images: no line break and no null byte.
_STRIPPED = (b"\xff\xd8\xff", b"\x89PNG\x1a", b"GIF8", b"RIFF", b"II*", b"MM*", b"BM")


def check_image(upload: Upload, limits: ImageLimits) -> ImageHeader:
    """Return the image's header; refuse what is none, and name the mistake where it is a known one.

    Raises:
        ImageBytesChanged: It was an image before something took it for text.
        ImageNameOnly: It is the name of a file.
        MultipartMalformed: It is a form whose Content-Type header says otherwise.
        RequestError: As `read_header`.
    """
    data = upload.data
    if _is_stripped(data) or _url_decoded(data).startswith((*_STRIPPED, b"\x89PNG")):
        raise ImageBytesChanged
    try:
        return read_header(data, limits)
    except ImageHeaderInvalid as exc:
        # With a name such as MM*.png or BMW.jpg, text begins like an image.
        if _FILE_NAME.fullmatch(data[:_NAME_BYTES_MAX]):
            raise ImageNameOnly(_only_named(upload)) from exc
        raise
    except ImageTypeUnsupported as exc:
        if type(exc) is ImageTypeUnsupported:
            _refuse_mistake(upload)
        raise


@contextlib.contextmanager
def naming_coding(coding: str) -> Iterator[None]:
    """Name the content coding of a body, which is not undone, where that may be why no image is found in it.

    Args:
        coding: The Content-Encoding header; empty without one.

    Raises:
        ImageEncoded: Instead of `MultipartMalformed` and `ImageTypeUnsupported`.
    """
    try:
        yield
    except (MultipartMalformed, ImageTypeUnsupported) as exc:
        if coding.strip().lower() in ("", "identity"):
            raise
        raise ImageEncoded(
            f"no image is found in a body with the Content-Encoding {coding[:_SHOWN_CHARS_MAX]!r}, "
            "which is not undone here; send the image's bytes as they are, without that header"
        ) from exc


def _is_stripped(data: bytes) -> bool:
    """Say whether an image lacks the null bytes and the line breaks that every image of its kind has."""
    if len(data) < _HEAD_BYTES or not data.startswith(_STRIPPED) or data[:_TEXT_BYTES].isascii():
        return False
    return b"\0" not in data and b"\n" not in data and b"\r" not in data


def _url_decoded(data: bytes) -> bytes:
    """Return what a body begins with that is encoded as a URL; empty where it is not."""
    head = data[:_NAME_BYTES_MAX]
    encoded = _URLENCODED.match(head)
    return unquote_to_bytes(head[encoded.end() :]) if encoded else b""


def _refuse_mistake(upload: Upload) -> None:
    """Name the mistake that led to a body which is no image, where one is known."""
    head = upload.data[:_NAME_BYTES_MAX]
    if head.startswith(_RECODED) or (head.startswith(b"\x89PNG") and not head.startswith(_PNG)):
        raise ImageBytesChanged
    if _FORM.match(head):
        raise MultipartMalformed(
            "the body is a form, but the Content-Type header does not say so with its boundary; "
            "let the client write that header itself"
        )
    if upload.text_field or (len(upload.data) < _NAME_BYTES_MAX and _FILE_NAME.fullmatch(head)):
        raise ImageNameOnly(_only_named(upload))
    value = _url_decoded(head)
    if value[:5].lower() == b"data:" or holds_base64(value):
        raise ImageEncoded


def _only_named(upload: Upload) -> str:
    shown = upload.data[:_SHOWN_CHARS_MAX].decode("utf-8", "replace").strip()
    if upload.text_field:
        name = upload.text_field
        return (
            f"the field {name} holds the text {shown!r} and no file; "
            f"with curl, write an @ before the file's name: -F {name}=@photo.jpg"
        )
    return (
        f"the body is the text {shown!r} and no image; "
        "with curl, write an @ before the file's name: --data-binary @photo.jpg"
    )
