"""Photos come out the right way up, whatever the camera held."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

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
