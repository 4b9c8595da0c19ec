"""The header check: what is accepted, what is refused, and with which words."""

import io
import struct
import subprocess
import sys

import pytest
from PIL import Image

from beholder.errors import (
    ImageHeaderInvalid,
    ImageMissing,
    ImagePixelsTooMany,
    ImageSideTooLong,
    ImageSideTooShort,
    ImageTooLarge,
    ImageTypeUnsupported,
    RequestError,
)
from beholder.model.decode.header import ImageFormat, ImageHeader, read_header
from beholder.model.decode.limits import ImageLimits

LIMITS = ImageLimits()


def encoded(kind: str, size: tuple[int, int] = (56, 40), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def bmp(width: int, height: int, *, core: bool = False) -> bytes:
    info = struct.pack("<IHHHH", 12, width, height, 1, 24) if core else b""
    info = info or struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(info)) + info


def tiff(*entries: tuple[int, int], order: str = "<") -> bytes:
    body = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return start + struct.pack(order + "H", len(entries)) + body + b"\0" * 4


def jpeg_frame(
    width: int, height: int, *, marker: int = 0xC0, precision: int = 8, components: int = 3
) -> bytes:
    content = struct.pack(">BHHB", precision, height, width, components) + b"\1\x11\0" * components
    return b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_tells_its_size(mode: str, *, progressive: bool) -> None:
    data = encoded("JPEG", mode=mode, progressive=progressive)

    assert read_header(data, LIMITS) == ImageHeader(ImageFormat.JPEG, 56, 40)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_format_tells_its_size(kind: str) -> None:
    assert read_header(encoded(kind), LIMITS) == ImageHeader(ImageFormat(kind.lower()), 56, 40)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0II*\0"}, {"quality": 40}])
def test_every_kind_of_webp_tells_its_size(options: dict[str, object]) -> None:
    for mode in ("RGB", "RGBA"):
        header = read_header(encoded("WEBP", (301, 203), mode, **options), LIMITS)
        assert (header.width, header.height) == (301, 203)


def test_a_bmp_may_run_downwards_or_come_from_os2() -> None:
    assert read_header(bmp(30, -20), LIMITS) == ImageHeader(ImageFormat.BMP, 30, 20)
    assert read_header(bmp(30, 20, core=True), LIMITS) == ImageHeader(ImageFormat.BMP, 30, 20)


def test_a_tiff_of_either_byte_order_tells_its_size() -> None:
    for order in "<>":
        assert read_header(tiff((256, 30), (257, 20), order=order), LIMITS).width == 30


def test_a_gif_is_as_large_as_its_first_frame_reaches() -> None:
    data = bytearray(encoded("GIF", (20, 20), "P"))
    frame = data.index(b",\0\0\0\0")
    struct.pack_into("<HHHH", data, frame + 1, 5, 6, 100, 50)

    assert read_header(bytes(data), LIMITS) == ImageHeader(ImageFormat.GIF, 105, 56)


def test_nothing_is_no_image() -> None:
    with pytest.raises(ImageMissing):
        read_header(b"", LIMITS)


def test_too_many_bytes_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ImageTooLarge, match=r"101 bytes.*100 allowed; send"):
        read_header(b"?" * 101, ImageLimits(image_bytes_max=100))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x1cftypisom\0\0\0\0isommp41", "MP4"),
        (b'<?xml version="1.0"?>\n<svg width="9">', "SVG"),
        (b"  <!DOCTYPE html><html>", "HTML"),
        (b"<note>", "XML"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04....", "ZIP"),
        (b'\xef\xbb\xbf {"image": "..."}', "JSON"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"data:image/png;base64,", "data URL"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
    ],
)
def test_a_known_other_thing_is_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageTypeUnsupported, match=name):
        read_header(data, LIMITS)


def test_an_unknown_thing_is_refused() -> None:
    with pytest.raises(ImageTypeUnsupported, match="convert it"):
        read_header(b"\x07\x06\x05 hello", LIMITS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (jpeg_frame(9, 9, marker=0xC3), "lossless"),
        (jpeg_frame(9, 9, marker=0xC9), "arithmetic"),
        (jpeg_frame(9, 9, precision=12), "12 bits"),
        (jpeg_frame(9, 9, components=2), "2 components"),
        (tiff((256, 30), (257, 20), (259, 7)), "JPEG compression"),
    ],
)
def test_a_kind_that_no_decoder_reads_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageTypeUnsupported, match=words):
        read_header(data, LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\0\x02" * 40_000,
        b"\xff\xd8" + b"\xff" * 100_000,
        jpeg_frame(0, 9),
        jpeg_frame(9, 9)[:-1],
        b"\x89PNG\r\n\x1a\n" + b"\0" * 10,
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 9, 9, 3, 7, 0, 0, 0) + b"\0" * 4,
        b"GIF89a" + b"\x09\0\x09\0\0\0\0" + b"!\xfe" + b"\x01a" * 30_000,
        b"GIF89a" + b"\x09\0\x09\0\0\0\0;",
        b"GIF89a\x09",
        bmp(0, 9),
        bmp(9, 9).replace(struct.pack("<I", 40), struct.pack("<I", 41)),
        b"BM" + b"\0" * 9,
        b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 30,
        b"RIFF\0\0\0\0WEBP",
        tiff((256, 30)),
        tiff((256, 30), (257, 20))[:20],
        b"II*\0\xff\xff\xff\x7f",
        b"II*\0\x08\0\0\0\xff\xff",
    ],
)
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(ImageHeaderInvalid):
        read_header(data, LIMITS)


def test_sides_and_pixels_are_bounded_inclusively() -> None:
    limits = ImageLimits(image_pixels_max=1_000, image_side_max=100, image_side_min=10)

    assert read_header(encoded("PNG", (100, 10)), limits).width == 100
    with pytest.raises(ImageSideTooShort, match=r"100 by 9 pixels.*at least 10; send"):
        read_header(encoded("PNG", (100, 9)), limits)
    with pytest.raises(ImageSideTooLong, match=r"101 by 10 pixels.*at most 100; scale"):
        read_header(encoded("PNG", (101, 10)), limits)
    with pytest.raises(ImagePixelsTooMany, match=r"= 1100 pixels.*1000 allowed; scale"):
        read_header(encoded("PNG", (100, 11)), limits)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60_000, 60_000, 8, 6, 0, 0, 0)
        + b"\0" * 4,
        jpeg_frame(60_000, 60_000),
        b"GIF89a"
        + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0),
        b"GIF89a" + struct.pack("<HHBBB", 60_000, 9, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 9, 9, 0),
        bmp(60_000, -60_000),
        tiff((256, 4_000_000_000), (257, 4_000_000_000)),
        tiff((256, 16), (257, 16), (322, 1_000_000), (323, 1_000_000)),
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
    ],
)
def test_a_bomb_is_refused_from_its_header(data: bytes) -> None:
    with pytest.raises((ImageSideTooLong, ImagePixelsTooMany)):
        read_header(data, LIMITS)


def test_a_tiff_directory_may_not_list_endlessly() -> None:
    data = tiff((256, 30), (257, 20)) + b"\0" * 600_000
    widths = struct.pack("<HHII", 322, 4, 140_000, 8)
    data = data[:8] + struct.pack("<H", 3) + data[10:34] + widths + data[46:]

    with pytest.raises(ImageHeaderInvalid, match="140000 values"):
        read_header(data, LIMITS)


def test_every_refusal_is_the_requests_and_says_something() -> None:
    for data in (b"", b"?", b"\xff\xd8\xff", b"BM"):
        with pytest.raises(RequestError) as caught:
            read_header(data, LIMITS)
        assert caught.value.message.endswith(".")
        assert 400 <= caught.value.http_status < 500


def test_the_header_check_loads_no_codec() -> None:
    code = (
        "import sys, beholder.model.decode.header; "
        "print([m for m in ('cv2', 'openvino', 'PIL', 'simplejpeg', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
