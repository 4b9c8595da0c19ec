"""AVIF and HEIC: what is decoded, how it is turned, and what is refused before a decoder sees it."""

import io
import struct

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from beholder.errors import (
    ImageHeaderInvalid,
    ImagePixelsTooMany,
    ImageTypeUnsupported,
    JobError,
    RequestError,
)
from beholder.model.decode import header as header_module
from beholder.model.decode.bitstreams import av1_sizes
from beholder.model.decode.decode import decode
from beholder.model.decode.header import ImageFormat, read_header
from beholder.model.decode.heif import read_picture
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.orientation import apply_orientation, read_orientation

LIMITS = ImageLimits()
ROWS, COLUMNS = np.mgrid[0:80, 0:120]
PIXELS = np.stack([COLUMNS * 2, ROWS * 3, (COLUMNS + ROWS) % 256], -1).astype(np.uint8)
COLOUR = Image.fromarray(PIXELS)
CLEAR = Image.fromarray(np.dstack([PIXELS, np.where(COLUMNS < 60, 0, 255).astype(np.uint8)]))
ON_WHITE = np.where(COLUMNS[:, :, None] < 60, 255, PIXELS)
GREY = np.repeat(np.asarray(COLOUR.convert("L"))[:, :, None], 3, 2)


def avif(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "AVIF", quality=95, **options)
    return file.getvalue()


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def deep_heic() -> bytes:
    file = io.BytesIO()
    samples = (PIXELS.astype("<u2") << 8).tobytes()
    pillow_heif.from_bytes("RGB;16", (120, 80), samples).save(file, quality=95)
    return file.getvalue()


def deep_avif() -> bytes:
    samples = np.ascontiguousarray(PIXELS[:, :, ::-1]).astype(np.uint16) * 4
    return cv2.imencode(".avif", samples, [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_QUALITY, 95])[
        1
    ].tobytes()


OTHER = COLOUR.rotate(180)
FILES = {
    "avif": (avif(COLOUR), PIXELS),
    "avif 4:4:4": (avif(COLOUR, subsampling="4:4:4"), PIXELS),
    "avif grey": (avif(COLOUR.convert("L")), GREY),
    "avif alpha": (avif(CLEAR), ON_WHITE),
    "avif 10 bits": (deep_avif(), PIXELS),
    "avif sequence": (avif(COLOUR, save_all=True, append_images=[OTHER]), PIXELS),
    "heic": (heic(COLOUR), PIXELS),
    "heic 4:4:4": (heic(COLOUR, chroma=444), PIXELS),
    "heic grey": (heic(COLOUR.convert("L")), GREY),
    "heic alpha": (heic(CLEAR), ON_WHITE),
    "heic 10 bits": (deep_heic(), PIXELS),
    "heic of tiles": (heic(COLOUR, tile_size=64), PIXELS),
    "heic of several": (heic(COLOUR, append_images=[pillow_heif.from_pillow(OTHER)[0]]), PIXELS),
}


@pytest.mark.parametrize("name", FILES)
def test_the_primary_picture_is_decoded(name: str) -> None:
    data, expected = FILES[name]

    header = read_header(data, LIMITS)
    pixels = decode(data, header)

    assert header.format is (ImageFormat.AVIF if name.startswith("avif") else ImageFormat.HEIC)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 4  # of 255: coding loses a little


def turned(data: bytes) -> np.ndarray:
    header = read_header(data, LIMITS)
    assert (header.width, header.height) == COLOUR.size
    return apply_orientation(decode(data, header), read_orientation(data, header))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_by_its_properties(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation  # both writers make properties of it
    of_avif, of_heic = avif(COLOUR, exif=exif), heic(COLOUR, exif=exif.tobytes())

    assert np.array_equal(turned(of_avif), ImageOps.exif_transpose(Image.open(io.BytesIO(of_avif))))
    assert np.array_equal(turned(of_heic), pillow_heif.open_heif(of_heic))


def test_exif_turns_no_picture() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = heic(COLOUR, exif=exif.tobytes()).replace(b"irot", b"free")

    assert read_orientation(data, read_header(data, LIMITS)) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_part_of_a_file_is_refused_or_is_the_picture(name: str) -> None:
    data, _ = FILES[name]
    whole = decode(data, read_header(data, LIMITS))

    for kept in (12, 40, 100, 200, 300, 400, len(data) // 2, len(data) - 100, len(data) - 1):
        try:
            pixels = decode(data[:kept], read_header(data[:kept], LIMITS))
        except (RequestError, JobError):
            continue
        assert np.array_equal(pixels, whole)


def patched(data: bytes, kind: bytes, at: int, code: str, *values: int) -> bytes:
    """Write numbers into the first box of a kind, so many bytes after its name."""
    changed = bytearray(data)
    struct.pack_into(">" + code, changed, data.index(kind) + 4 + at, *values)
    return bytes(changed)


@pytest.mark.parametrize("name", ["avif", "heic", "heic of tiles"])
def test_a_size_that_is_too_large_is_refused_by_the_header(name: str) -> None:
    data = FILES[name][0].replace(struct.pack(">II", 120, 80), struct.pack(">II", 30_000, 30_000))

    with pytest.raises((ImagePixelsTooMany, ImageHeaderInvalid)):
        read_header(data, LIMITS)


@pytest.mark.parametrize("make", [avif, heic])
def test_coded_data_larger_than_the_file_says_never_reaches_a_decoder(make: object) -> None:
    data = make(Image.new("RGB", (2_000, 1_500), "white"))  # type: ignore[operator]
    small = data.replace(struct.pack(">II", 2_000, 1_500), struct.pack(">II", 20, 15))

    with pytest.raises(ImageHeaderInvalid, match="20 by 15 pixels, but its data is 2000 by 15"):
        read_header(small, LIMITS)


def test_what_a_picture_takes_is_told_by_its_header() -> None:
    data = avif(Image.new("RGB", (1_000, 1_000)))

    with pytest.raises(ImagePixelsTooMany, match="bytes to decode"):
        read_header(data, ImageLimits(image_pixels_max=1_000_000))
    assert read_header(data, ImageLimits(image_pixels_max=2_000_000)).width == 1_000


@pytest.mark.parametrize(
    ("kind", "at", "code", "values"),
    [
        (b"iloc", 6, "H", (65_535,)),  # items
        (b"iloc", 12, "H", (65_535,)),  # extents of one
        (b"ipma", 4, "I", (2**32 - 1,)),
        (b"pitm", 4, "H", (77,)),
        (b"iinf", 4, "H", (0,)),
        (b"hvc1", 0, "I", (1,)),
    ],
)
def test_lists_that_make_no_sense_are_refused_or_not_believed(
    kind: bytes, at: int, code: str, values: tuple[int, ...]
) -> None:
    data = patched(heic(COLOUR), kind, at, code, *values)

    try:
        pixels = decode(data, read_header(data, LIMITS))
    except (RequestError, JobError):
        return
    assert pixels.shape == (80, 120, 3)


def test_a_grid_that_names_one_large_tile_over_and_over_holds_no_more_than_the_file() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[:64, :64] = noise
    data = heic(Image.fromarray(pixels), tile_size=64)
    first = struct.unpack_from(">H", data, data.index(b"dimg") + 8)[0]

    with pytest.raises(ImageHeaderInvalid, match="lie upon each other"):
        read_header(patched(data, b"dimg", 4, "4H", *[first] * 4), LIMITS)


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I", len(content) + 8) + kind + content


PLAIN = b"\0\0\0\0"  # version and flags
NO_PLACES = box(b"iloc", PLAIN, struct.pack(">HH", 0, 0))


@pytest.mark.parametrize(
    "boxes",
    [
        # Places of no bytes, which a few kilobytes describe by the million.
        [box(b"iloc", PLAIN, struct.pack(">HH", 0, 4_000), struct.pack(">HHH", 1, 0, 4_000) * 4_000)],
        # Boxes that all count on into the same bytes behind them.
        [
            NO_PLACES,
            box(b"iprp", *[box(b"ipma", PLAIN, struct.pack(">I", 4_000))] * 3_000, b"\0\1\1\1" * 5_000),
        ],
        [
            NO_PLACES,
            box(b"iref", PLAIN, *[box(b"dimg", struct.pack(">HH", 1, 900))] * 3_000),
            box(b"free", bytes(2_000)),
        ],
    ],
    ids=["places", "properties", "references"],
)
def test_counts_that_grow_beyond_the_file_are_refused(boxes: list[bytes]) -> None:
    kinds = box(b"iinf", PLAIN, struct.pack(">H", 0))
    meta = box(b"meta", PLAIN, box(b"pitm", PLAIN, b"\0\1"), kinds, *boxes)

    with pytest.raises(ImageHeaderInvalid, match="entries"):
        read_header(box(b"ftyp", b"heic", PLAIN, b"heic") + meta, LIMITS)


def test_an_image_with_many_frames_is_no_still_picture() -> None:
    picture = read_picture(avif(COLOUR))
    frame = picture.data[0]
    assert len(av1_sizes(frame * 3)) == 3
    data = avif(COLOUR)
    start = data.index(frame)
    many = data[:start] + frame * 9
    longer = many.replace(struct.pack(">I", len(frame)), struct.pack(">I", 9 * len(frame)))

    with pytest.raises(ImageHeaderInvalid, match="9 frames"):
        read_header(longer, LIMITS)


def test_another_codec_is_named() -> None:
    data = heic(COLOUR).replace(b"hvc1", b"jpeg")

    with pytest.raises(ImageTypeUnsupported, match="'jpeg'"):
        read_header(data, LIMITS)


def test_without_the_extra_a_heic_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "is_installed", lambda _: False)

    with pytest.raises(ImageTypeUnsupported, match=r"HEIC.*extra heic.*JPEG"):
        read_header(FILES["heic"][0], LIMITS)
    assert read_header(FILES["avif"][0], LIMITS).width == 120
