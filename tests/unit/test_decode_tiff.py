"""Every compression that libtiff knows is read or refused by its name; BigTIFF is read as TIFF is."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from beholder.errors import ImagePixelsTooMany, ImageTypeUnsupported, JobError, RequestError
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.orientation import read_orientation
from beholder.model.decode.tiff import read_directory

LIMITS = ImageLimits()
ROWS, COLUMNS = np.mgrid[0:60, 0:90]
PIXELS = np.stack([COLUMNS * 2, ROWS * 4, (COLUMNS * ROWS) % 256], -1).astype(np.uint8)
COLOUR = Image.fromarray(PIXELS)
READ = {"raw": 1, "tiff_lzw": 5, "tiff_adobe_deflate": 8, "packbits": 32_773, "zstd": 50_000}
REFUSED = {
    2: "fax",
    3: "group 3",
    4: "group 4",
    6: "JPEG",
    7: "JPEG",
    32_766: "NeXT",
    32_771: "fax",
    32_809: "ThunderScan",
    34_676: "LogLuv",
    34_677: "LogLuv",
    34_712: "JPEG 2000",
    34_887: "LERC",
    34_925: "LZMA",
    50_001: "WebP",
    50_002: "JPEG XL",
    999: "compression 999",
}


def tiff(**options: object) -> bytes:
    file = io.BytesIO()
    COLOUR.save(file, "TIFF", **options)
    return file.getvalue()


def as_big(data: bytes) -> bytes:
    """Write a TIFF as BigTIFF: strips move by the eight bytes that its header is longer."""
    parts = []
    for tag, entry in sorted(read_directory(data).items()):
        values = [value + 8 if tag == 273 else value for value in entry.values]
        parts.append((tag, struct.pack(f"<{len(values)}Q", *values)))
    at = len(data) + 8
    directory, lists = struct.pack("<Q", len(parts)), b""
    for tag, content in parts:
        place = content
        if len(content) > 8:
            place = struct.pack("<Q", at + 16 + 20 * len(parts) + len(lists))
            lists += content
        directory += struct.pack("<HHQ", tag, 16, len(content) // 8) + place
    return b"II+\0\x08\0\0\0" + struct.pack("<Q", at) + data[8:] + directory + bytes(8) + lists


def entry_at(data: bytes, tag: int) -> int:
    """Return where the entry of a tag begins in a little-endian TIFF."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    return next(
        at
        for at in range(start + 2, start + 2 + 12 * count, 12)
        if data[at : at + 2] == bytes([tag & 255, tag >> 8])
    )


def with_compression(number: int) -> bytes:
    data = bytearray(tiff())
    struct.pack_into("<H", data, entry_at(data, 259) + 8, number)
    return bytes(data)


@pytest.mark.parametrize("is_big", [False, True], ids=["tiff", "bigtiff"])
@pytest.mark.parametrize("name", READ)
def test_a_lossless_compression_is_read_to_the_pixel(name: str, is_big: bool) -> None:  # noqa: FBT001
    for rows_per_strip in (7, 60):
        data = tiff(compression=name, tiffinfo={278: rows_per_strip})
        data = as_big(data) if is_big else data

        assert np.array_equal(decode(data, read_header(data, LIMITS)), PIXELS)


@pytest.mark.parametrize("number", REFUSED)
def test_another_compression_is_refused_by_its_name(number: int) -> None:
    with pytest.raises(ImageTypeUnsupported, match=rf"{REFUSED[number]}.*LZW or deflate"):
        read_header(with_compression(number), LIMITS)


def test_what_pillow_writes_is_read_or_refused() -> None:
    grey = COLOUR.convert("1")
    for name in ("tiff_ccitt", "group3", "group4", "jpeg", "lzma", "tiff_raw_16"):
        file = io.BytesIO()
        (COLOUR if name == "jpeg" else grey).save(file, "TIFF", compression=name)
        with pytest.raises(ImageTypeUnsupported):
            read_header(file.getvalue(), LIMITS)


def test_bigtiff_of_the_other_byte_order_is_read() -> None:
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    values = {256: 20, 257: 10, 258: 8, 259: 1, 262: 2, 273: 0, 274: 6, 277: 3, 278: 10, 279: pixels.size}
    values[273] = 16 + 8 + 20 * len(values) + 8
    entries = b"".join(struct.pack(">HHQQ", tag, 16, 1, value) for tag, value in values.items())
    data = b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, len(values)) + entries + bytes(8) + pixels.tobytes()

    header = read_header(data, LIMITS)

    assert read_orientation(data, header) == 6
    assert np.array_equal(decode(data, header), pixels)


@pytest.mark.parametrize("is_big", [False, True], ids=["tiff", "bigtiff"])
def test_damage_of_zstandard_is_refused(is_big: bool) -> None:  # noqa: FBT001
    data = tiff(compression="zstd")
    data = as_big(data) if is_big else data
    start = data.index(b"\x28\xb5\x2f\xfd")
    refused = 0
    for at in range(start, start + 200, 10):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        try:
            pixels = decode(damaged, read_header(damaged, LIMITS))
        except (RequestError, JobError):
            refused += 1
            continue
        assert pixels.shape == PIXELS.shape
    for kept in (start + 50, len(data) - 20):
        with pytest.raises((RequestError, JobError)):
            decode(data[:kept], read_header(data[:kept], LIMITS))
    assert refused


def test_a_window_larger_than_all_bounds_is_refused_by_the_header() -> None:
    data = bytearray(tiff(compression="zstd"))
    start = data.index(b"\x28\xb5\x2f\xfd")
    data[start + 4], data[start + 5] = data[start + 4] & ~0x20, 31 << 3  # a window of two terabytes

    with pytest.raises(ImagePixelsTooMany, match="bytes to decode"):
        read_header(bytes(data), LIMITS)


def test_the_window_of_the_shortest_frame_counts_too() -> None:
    data = tiff(compression="zstd")
    start = struct.pack("<I", data.index(b"\x28\xb5\x2f\xfd"))
    assert data.count(start) == 1
    # One block that repeats a byte, at the end of the file.
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 31 << 3]) + b"\x0b\x00\x00" + b"\xff"

    with pytest.raises(ImagePixelsTooMany, match="bytes to decode"):
        read_header(data.replace(start, struct.pack("<I", len(data))) + frame, LIMITS)
