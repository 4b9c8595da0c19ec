"""Recognises bytes that are no accepted image, so that the refusal says what they are."""

import base64
import re

from beholder.errors import ImageByUrl, ImageEncoded, ImageTypeUnsupported

__all__ = ["holds_base64", "refusal_of"]

_HEAD_BYTES = 512  # enough for an XML declaration and a licence comment before <svg
# Python prints bytes as b'...'.
_BASE64_HEAD = re.compile(rb"\s*(?:b?[\"'])?(?:base64,)?([A-Za-z0-9+/_\-]{12})")
_QUOTED = re.compile(rb"[\"'](?:base64,)?([A-Za-z0-9+/_\-]{12})")
_URL = re.compile(rb"(?:https?|ftp|file|s3|gs)://", re.IGNORECASE)
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\x01\0", "a Windows icon"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"RIFF", "an AVI video or a WAV sound"),
    (b"ID3", "an MP3 sound"),
)
_PAGE, _JSON = "an HTML page", "JSON text"
_ADVICE = {_PAGE: "send the image itself, not the page at an address"}


def refusal_of(data: bytes) -> ImageTypeUnsupported:
    """Return the refusal of `data`, which begins like no accepted image, with advice what to send."""
    text = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:5].lower() == b"data:":
        return ImageEncoded("This is a data URL, not an image; send the image's bytes as they are.")
    if holds_base64(text):
        return ImageEncoded("This is an image written as base64 text; send its bytes as they are.")
    if _URL.match(text):
        return ImageByUrl("This is an address, not an image; download the image and send its bytes.")
    other = _looks_like(data)
    if other == _JSON:
        return _of_json(data)
    if other is None:
        return ImageTypeUnsupported()
    advice = _ADVICE.get(other, "convert it to one of these")
    return ImageTypeUnsupported(
        f"This looks like {other}, not like a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC image; {advice}."
    )


def holds_base64(text: bytes) -> bool:
    """Say whether a text begins with an image in base64, of either alphabet, quoted or not."""
    match = _BASE64_HEAD.match(text)
    return match is not None and _decodes_to_image(match[1])


def _decodes_to_image(letters: bytes) -> bool:
    head = base64.b64decode(letters.replace(b"-", b"+").replace(b"_", b"/"))
    if head[4:8] == b"ftyp":  # AVIF and HEIC, and videos
        return True
    return head.startswith(_IMAGES) or (head.startswith(b"BM") and head[6:9] == b"\0\0\0")


def _of_json(data: bytes) -> ImageTypeUnsupported:
    head = data[: 16 * _HEAD_BYTES].replace(b"\\/", b"/")
    if b"data:image/" in head or any(_decodes_to_image(quoted[1]) for quoted in _QUOTED.finditer(head)):
        return ImageEncoded(
            "This is JSON text with an image in base64; send the image's bytes as the body, or as a form."
        )
    if _URL.search(head):
        return ImageByUrl("This is JSON text with an address; download the image and send its bytes.")
    return ImageTypeUnsupported(
        "This is JSON text, not an image; send the image's bytes as the body, and options in the query."
    )


def _looks_like(data: bytes) -> str | None:
    """Return what `data` seems to be, with an article, or None if unknown."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return "an MP4 or QuickTime video"
    return _text_kind(data[:_HEAD_BYTES])


def _text_kind(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        if b"<svg" in text:
            return "an SVG drawing"
        if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
            return _PAGE
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return _JSON
    return None
