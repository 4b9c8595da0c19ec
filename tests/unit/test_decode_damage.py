"""Damaged files are refused, odd ones are not."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from beholder.errors import ImageTruncated, ImageUndecodable, JobError
from beholder.model.decode import jpeg
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits

LIMITS = ImageLimits()
ROWS, COLUMNS = np.mgrid[0:96, 0:128]
PHOTO = Image.fromarray(np.stack([COLUMNS * 2, ROWS * 2, (COLUMNS * ROWS) % 251], -1).astype(np.uint8))


def encoded(kind: str = "JPEG", image: Image.Image = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    return decode(data, read_header(data, LIMITS))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.97, 0.99, 0.999])
def test_a_jpeg_that_was_cut_is_refused(kept: float, *, progressive: bool) -> None:
    data = encoded(progressive=progressive, quality=95)

    with pytest.raises(ImageTruncated, match="send the whole file"):
        decoded(data[: int(len(data) * kept)])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_with_an_end_marker_put_on_is_refused(*, progressive: bool) -> None:
    data = encoded(progressive=progressive, quality=95)

    with pytest.raises(ImageTruncated):
        decoded(data[: int(len(data) * 0.8)] + b"\xff\xd9")


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    data = encoded(progressive=True)
    scans = [start for marker, start, _ in jpeg.walk(data) if marker == 0xDA]
    tables = [start for marker, start, _ in jpeg.walk(data) if marker == 0xC4]
    assert len(scans) > 5

    for scan in scans[1:]:
        cut = max([table for table in tables if table < scan] + [0])
        with pytest.raises(ImageTruncated):
            decoded(data[:cut] + b"\xff\xd9")


def test_a_jpeg_with_endless_scans_is_refused() -> None:
    data = encoded(progressive=True)
    last = [(start, end) for marker, start, end in jpeg.walk(data) if marker == 0xDA][-1]

    with pytest.raises(ImageTruncated):
        decoded(data[: last[0]] + data[last[0] : last[1]] * 200 + b"\xff\xd9")


def test_a_large_jpeg_may_have_fewer_scans_than_a_small_one() -> None:
    data = encoded(progressive=True)
    first = next((start, end) for marker, start, end in jpeg.walk(data) if marker == 0xDA)
    many = data[: first[1]] + data[first[0] : first[1]] * 40 + data[first[1] :]
    frame = jpeg.read_frame(data)

    assert not jpeg.misses_scans(many, frame)
    assert not jpeg.misses_scans(data, replace(frame, width=8_000, height=8_000))
    assert jpeg.misses_scans(many, replace(frame, width=8_000, height=8_000))


def test_a_sequential_jpeg_without_one_components_scan_is_refused() -> None:
    data = encoded(quality=50, subsampling=0)
    start = next(start for marker, start, _ in jpeg.walk(data) if marker == 0xDA)
    only_luma = data[:start] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + data[start + 14 :]

    with pytest.raises(ImageTruncated):
        decoded(only_luma)


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5_000, b"ftypmp42" * 99, encoded(quality=5)])
def test_bytes_after_the_end_of_a_jpeg_are_left_alone(tail: bytes) -> None:
    data = encoded()

    assert np.array_equal(decoded(data + tail), decoded(data))


def jfif_of_a_new_version(data: bytes) -> bytes:
    at = data.index(b"JFIF\0") + 5
    return data[:at] + b"\x09" + data[at + 1 :]


def adobe_of_a_new_transform(data: bytes) -> bytes:
    return data[:2] + b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\x07" + data[2:]


def bytes_between_segments(data: bytes) -> bytes:
    return data[:20] + b"\0\x01\x02" + data[20:]


def fill_before_a_marker(data: bytes) -> bytes:
    return data[:20] + b"\xff" * 9 + data[20:]


def padding_before_the_end(data: bytes) -> bytes:
    return data[:-2] + b"\0" * 8 + data[-2:]


def unknown_segments(data: bytes) -> bytes:
    return data[:2] + b"\xff\xe9\0\x06what\xff\xfe\0\x04hm\xff\xef\0\x02" + data[2:]


def two_oddities(data: bytes) -> bytes:
    return padding_before_the_end(jfif_of_a_new_version(data))


@pytest.mark.parametrize(
    "make_odd",
    [
        jfif_of_a_new_version,
        adobe_of_a_new_transform,
        bytes_between_segments,
        fill_before_a_marker,
        padding_before_the_end,
        unknown_segments,
        two_oddities,
    ],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_merely_odd_passes(make_odd: Callable[[bytes], bytes], *, progressive: bool) -> None:
    data = encoded(progressive=progressive)

    assert np.array_equal(decoded(make_odd(data)), decoded(data))


def test_an_odd_jpeg_that_is_also_cut_is_refused() -> None:
    data = jfif_of_a_new_version(encoded())

    with pytest.raises(ImageTruncated):
        decoded(data[:-200])
    with pytest.raises(ImageTruncated):
        decoded(data[:-200] + b"\xff\xd9")


def rare_sampling() -> bytes:
    """Write a grey square whose red is sampled four by two: TurboJPEG does not know that."""
    # Mid-grey in RGB makes every block the same six bits, so that they can be dealt out anew.
    data = bytearray(encoded(image=Image.new("RGB", (64, 64), (128, 128, 128)), keep_rgb=True, subsampling=0))
    data[data.index(b"\xff\xc0") + 11] = 0x42
    start = data.index(b"\xff\xda") + 14
    blocks = (64 // 32) * (64 // 16) * (4 * 2 + 1 + 1)
    return bytes(data[: start + blocks * 6 // 8]) + b"\xff\xd9"


def test_a_rare_sampling_is_decoded() -> None:
    assert np.array_equal(decoded(rare_sampling()), np.full((64, 64, 3), 128))


def test_a_rare_sampling_that_was_cut_is_refused() -> None:
    with pytest.raises(ImageTruncated):
        decoded(rare_sampling()[:-20])


def test_a_damaged_jpeg_is_refused() -> None:
    data = encoded(quality=95)
    middle = len(data) // 2
    damaged = data[:middle] + bytes(byte ^ 0x5A for byte in data[middle : middle + 40]) + data[middle + 40 :]

    with pytest.raises(JobError):
        decoded(damaged)


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 1

    with pytest.raises(ImageUndecodable, match="checksum"):
        decoded(bytes(data))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_with_an_unknown_critical_chunk_is_refused() -> None:
    data = encoded("PNG")

    with pytest.raises(ImageUndecodable, match="critical"):
        decoded(data[:33] + chunk(b"CgBI", b"\0\0\0\0") + data[33:])


def test_a_png_without_its_last_chunk_is_refused() -> None:
    with pytest.raises(ImageTruncated):
        decoded(encoded("PNG")[:-12])


def test_a_png_with_too_few_rows_is_refused() -> None:
    data = encoded("PNG")
    start, end = data.index(b"IDAT") - 4, len(data) - 12
    rows = zlib.decompress(data[start + 8 : end - 4])
    short = data[:start] + chunk(b"IDAT", zlib.compress(rows[: len(rows) // 2])) + data[end:]

    with pytest.raises(ImageTruncated):
        decoded(short)


def test_swollen_texts_and_profiles_of_a_png_are_never_inflated() -> None:
    data = encoded("PNG")
    bomb = zlib.compress(b"\0" * 100_000_000)
    chunks = chunk(b"iCCP", b"p\0\0" + bomb) + chunk(b"zTXt", b"t\0\0" + bomb) * 20
    chunks += chunk(b"iTXt", b"t\0\1\0\0\0" + bomb) * 20

    assert np.array_equal(decoded(data[:33] + chunks + data[33:]), np.asarray(PHOTO))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF"])
def test_other_formats_that_were_cut_are_refused(kind: str) -> None:
    options = {"compression": "tiff_lzw", "tiffinfo": {278: 8}} if kind == "TIFF" else {}
    data = encoded(kind, PHOTO.quantize(64) if kind == "GIF" else PHOTO, **options)
    header = read_header(data, LIMITS)

    for kept in (0.5, 0.9, 0.99):
        with pytest.raises(JobError):
            decode(data[: int(len(data) * kept)], header)


def test_a_tiff_that_lies_about_its_strips_is_refused() -> None:
    data = encoded("TIFF")
    at = data.index(struct.pack("<HHI", 257, 4, 1))
    taller = data[: at + 8] + struct.pack("<I", 9_600) + data[at + 12 :]

    with pytest.raises(JobError):
        decoded(taller)


def test_a_tiff_with_tags_that_all_point_at_the_same_bytes_stays_small() -> None:
    data = encoded("TIFF")
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    body = data[start + 2 : start + 2 + 12 * count]
    many = b"".join(struct.pack("<HHII", 40_000 + tag, 1, len(data), 0) for tag in range(900))
    directory = struct.pack("<H", count + 900) + body + many + b"\0" * 4
    lying = data[:4] + struct.pack("<I", len(data)) + data[8:] + directory

    assert np.array_equal(decoded(lying), np.asarray(PHOTO))


def test_a_refusal_names_format_and_length() -> None:
    data = encoded()[:2_000]

    with pytest.raises(ImageTruncated, match="jpeg image's data ends early, after 2000 bytes"):
        decoded(data)
