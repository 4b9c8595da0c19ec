"""Names for bytes that are no accepted image, so that a refusal can say what was sent instead."""

__all__ = ["looks_like"]

_HEAD_BYTES = 512  # enough for an XML declaration and a licence comment before <svg

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"8BPS", "a Photoshop document"),
    (b"II+\0", "a BigTIFF image"),
    (b"MM\0+", "a BigTIFF image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\x01\0", "a Windows icon"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"RIFF", "an AVI video or a WAV sound"),
    (b"ID3", "an MP3 sound"),
    (b"/9j/", "a JPEG image in base64; send its bytes as they are"),
    (b"iVBORw0KGgo", "a PNG image in base64; send its bytes as they are"),
    (b"data:", "a data URL; send the image's bytes as they are"),
)
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))


def looks_like(data: bytes) -> str | None:
    """Return what `data` seems to be, with its article, or None when nothing known fits."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return _media_container(data)
    return _text_kind(data[:_HEAD_BYTES])


def _media_container(data: bytes) -> str:
    """Tell the formats apart that share the ISO base media container."""
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, 64, 4))}
    if brands & _AVIF_BRANDS:  # before HEIC: AVIF files name the brand mif1 as well
        return "an AVIF image"
    if brands & _HEIC_BRANDS:
        return "a HEIC image, as phones take them"
    return "an MP4 or QuickTime video"


def _text_kind(head: bytes) -> str | None:
    """Tell text formats apart by their first characters."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        if b"<svg" in text:
            return "an SVG drawing"
        if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
            return "an HTML page"
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    return None
