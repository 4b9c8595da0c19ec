"""Photos come out the right way up, whatever the camera held."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from beholder.model.decode import jpeg
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.orientation import apply_orientation, read_orientation

LIMITS = ImageLimits()
ROWS, COLUMNS = np.mgrid[0:40, 0:56]
PHOTO = Image.fromarray(np.stack([COLUMNS * 4, ROWS * 6, (COLUMNS > ROWS) * 200], -1).astype(np.uint8))


def encoded(kind: str, orientation: int | None) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[271] = "A camera"
    if orientation is not None:
        exif[274] = orientation
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
    PHOTO.save(file, kind, exif=exif, **options.get(kind, {}))
    return file.getvalue()


def upright(data: bytes) -> NDArray[np.uint8]:
    header = read_header(data, LIMITS)
    return apply_orientation(decode(data, header), read_orientation(data, header))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_eight_orientations_agree_with_pillow(kind: str, orientation: int) -> None:
    data = encoded(kind, orientation)

    assert read_orientation(data, read_header(data, LIMITS)) == orientation

    noted = PHOTO.copy()
    noted.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(noted)).astype(int)
    pixels = upright(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= (12 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [None, 0, 9, 65_535])
def test_no_or_a_nonsense_orientation_is_upright(kind: str, orientation: int | None) -> None:
    data = encoded(kind, orientation)

    assert read_orientation(data, read_header(data, LIMITS)) == 1


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_formats_without_exif_are_upright(kind: str) -> None:
    file = io.BytesIO()
    PHOTO.save(file, kind)

    assert read_orientation(file.getvalue(), read_header(file.getvalue(), LIMITS)) == 1


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\1\0\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0",
        b"II*\0\x08\0\0\0\1\0\x12\x01\x05\0\1\0\0\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\1\0\x12\x01\x02\0\1\0\0\0ab\0\0",
        b"II*\0\x08\0\0\0\1\0\x12\x01\x03\0\0\0\0\0\x06\0\0\0",
        b"MM\0*\0\0\0\x08\0\1",
        b"no Exif at all",
    ],
)
def test_hostile_exif_is_upright_and_no_error(exif: bytes) -> None:
    file = io.BytesIO()
    PHOTO.save(file, "JPEG")
    plain = file.getvalue()
    block = b"Exif\0\0" + exif
    data = plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]

    assert read_orientation(data, read_header(data, LIMITS)) == 1
    assert np.array_equal(upright(data), upright(plain))


def test_exif_words_inside_the_picture_are_no_exif() -> None:
    file = io.BytesIO()
    PHOTO.save(file, "JPEG", comment=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\x01\x03\0\1\0\0\0\x06\0\0\0")

    assert read_orientation(file.getvalue(), read_header(file.getvalue(), LIMITS)) == 1


def exif_of(*entries: bytes, order: str = "<", start: int = 8, count: int | None = None) -> bytes:
    """Write an Exif block whose directory begins at `start`."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(entries) if count is None else count) + b"".join(entries)
    return (head + struct.pack(order + "I", start)).ljust(start, b"\0") + directory + b"\0" * 4


def entry(tag: int, kind: int, value: int, *, order: str = "<", count: int = 1) -> bytes:
    packed = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], value).ljust(4, b"\0")
    return struct.pack(order + "HHI", tag, kind, count) + packed


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


PLAIN = encoded("JPEG", None)
START = next(start - 4 for marker, start, _ in jpeg.segments(PLAIN) if marker == 0xDB)
SIX = exif_of(entry(274, 3, 6))
EXIF = segment(0xE1, b"Exif\0\0" + SIX)
THUMBNAIL = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x0c" + PLAIN)


def with_segments(*inserted: bytes) -> bytes:
    """Put segments before the tables of a JPEG that has no Exif of its own."""
    return b"\xff\xd8" + b"".join(inserted) + PLAIN[START:]


@pytest.mark.parametrize(
    "before",
    [
        THUMBNAIL,
        *(
            segment(0xED, b"Photoshop 3.0\0" + bytes([0xFF, marker]) * 9)
            for marker in (0xDB, 0xDA, 0xC0, 0xC4, 0xD9)
        ),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff\xdb\xff\xda" * 9),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"\xff\xdb" + b"x" * 60_000) * 30,
        segment(0xFE, b"Exif\0\0" + exif_of(entry(274, 3, 3))),
        b"\xff" * 7,
        PLAIN[START : START + 69],
        segment(0xE0, b"JFXX\0\x10" + PLAIN),
    ],
)
@pytest.mark.parametrize("exif", [EXIF, b"\xff\xff" + EXIF])
def test_exif_is_found_behind_any_other_segment(before: bytes, exif: bytes) -> None:
    data = with_segments(before, exif)

    assert read_orientation(data, read_header(data, LIMITS)) == 6
    assert upright(data).shape == (56, 40, 3)


def test_of_two_exif_segments_the_first_counts() -> None:
    other = segment(0xE1, b"Exif\0\0" + exif_of(entry(274, 3, 3)))

    for data, orientation in ((with_segments(EXIF, other), 6), (with_segments(other, EXIF), 3)):
        assert read_orientation(data, read_header(data, LIMITS)) == orientation


def test_exif_inside_another_segment_is_no_exif() -> None:
    data = with_segments(segment(0xED, b"Photoshop 3.0\0" + EXIF), segment(0xE1, b"xmp" + EXIF))

    assert read_orientation(data, read_header(data, LIMITS)) == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("build", "orientation"),
    [
        (lambda order: exif_of(entry(274, 3, 6, order=order), order=order), 6),
        (lambda order: exif_of(entry(274, 4, 6, order=order), order=order), 6),
        (lambda order: exif_of(entry(274, 1, 6, order=order), order=order), 6),
        (lambda order: exif_of(entry(274, 3, 6, order=order), order=order, start=300), 6),
        (lambda order: exif_of(entry(274, 3, 6, order=order), order=order, start=9), 6),
        (lambda order: exif_of(entry(274, 3, 6, order=order), order=order, count=40), 6),
        (
            lambda order: exif_of(
                *[entry(271, 3, 1, order=order)] * 99, entry(274, 3, 8, order=order), order=order
            ),
            8,
        ),
        (lambda order: exif_of(entry(274, 3, 0, order=order), order=order), 1),
        (lambda order: exif_of(entry(274, 3, 9, order=order), order=order), 1),
        (lambda order: exif_of(entry(274, 4, 6 << 16, order=order), order=order), 1),
        (lambda order: exif_of(entry(274, 3, 6, order=order, count=9_999), order=order), 1),
    ],
)
def test_a_directory_is_read_as_far_as_it_makes_sense(
    build: Callable[[str], bytes], orientation: int, order: str
) -> None:
    block = build(order)
    webp_file = io.BytesIO()
    PHOTO.save(webp_file, "WEBP", exif=b"Exif\0\0" + block)
    png_file = io.BytesIO()
    PHOTO.save(png_file, "PNG")
    png = png_file.getvalue()
    at = png.index(b"IDAT") - 4
    cases = [
        with_segments(segment(0xE1, b"Exif\0\0" + block)),
        with_segments(segment(0xE1, b"Exif\0\xff" + block)),
        webp_file.getvalue(),
        png[:at] + chunk(b"eXIf", block) + png[at:],
        png[:at] + chunk(b"eXIf", b"Exif\0\0" + block) + png[at:],
        png[:-12] + chunk(b"eXIf", block) + png[-12:],
    ]
    for data in cases:
        assert read_orientation(data, read_header(data, LIMITS)) == orientation


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_photo_with_more_pictures_behind_it_turns_as_its_first_one_says() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    PHOTO.save(file, "MPO", save_all=True, append_images=[PHOTO.rotate(180)], exif=exif)

    assert read_orientation(file.getvalue(), read_header(file.getvalue(), LIMITS)) == 6
    assert upright(file.getvalue()).shape == (56, 40, 3)
