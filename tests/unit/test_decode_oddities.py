"""What libjpeg warns of, and what other codecs stumble over: harmless where no row is lost, else refused.

docs/models.md has the table.
"""

import io
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable

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
# Blocks of one colour are coded in so few zero bits that some segments end in a zero byte of their own.
FLAT = Image.fromarray(np.asarray(PHOTO) // 64 * 64).resize((640, 480), Image.Resampling.NEAREST)


def encoded(kind: str = "JPEG", image: Image.Image = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    return decode(data, read_header(data, LIMITS))


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


# --- JPEG: harmless -----------------------------------------------------------------------------------------


def icc_of_no_sense(data: bytes) -> bytes:
    return data[:20] + segment(0xE2, b"ICC_PROFILE\0\x02\x01" + b"x" * 30) + data[20:]


def icc_numbered_zero(data: bytes) -> bytes:
    return data[:20] + segment(0xE2, b"ICC_PROFILE\0\0\0" + b"x" * 30) + data[20:]


def icc_twice(data: bytes) -> bytes:
    return data[:20] + segment(0xE2, b"ICC_PROFILE\0\x01\x01" + b"x" * 30) * 2 + data[20:]


def icc_too_short(data: bytes) -> bytes:
    return data[:20] + segment(0xE2, b"ICC_PROFILE\0\x01") + data[20:]


def wrong_scan_parameters(data: bytes) -> bytes:
    at = data.index(b"\xff\xda")
    at += 5 + 2 * data[at + 4]
    return data[:at] + b"\0\0\0" + data[at + 3 :]


def no_end(data: bytes) -> bytes:
    return data[:-2]


def half_an_end(data: bytes) -> bytes:
    return data[:-1]


def no_end_and_icc(data: bytes) -> bytes:
    return no_end(icc_of_no_sense(data))


def adobe_short(data: bytes) -> bytes:
    return data[:2] + segment(0xEE, b"Adobe\0d") + data[2:]


def jfif_short(data: bytes) -> bytes:
    return data[:2] + segment(0xE0, b"JFIF\0\x09") + data[20:]


@pytest.mark.parametrize(
    "make_odd",
    [
        icc_of_no_sense,
        icc_numbered_zero,
        icc_twice,
        icc_too_short,
        wrong_scan_parameters,
        no_end,
        half_an_end,
        no_end_and_icc,
        adobe_short,
        jfif_short,
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_no_pixel_depends_on_is_no_reason_to_refuse(
    make_odd: Callable[[bytes], bytes], mode: str
) -> None:
    data = encoded(image=PHOTO.convert(mode), quality=90)

    assert np.array_equal(decoded(make_odd(data)), decoded(data))


@pytest.mark.parametrize("make_odd", [icc_of_no_sense, no_end, half_an_end])
def test_a_progressive_file_likewise(make_odd: Callable[[bytes], bytes]) -> None:
    data = encoded(progressive=True, quality=90)

    assert np.array_equal(decoded(make_odd(data)), decoded(data))


def test_an_unknown_colour_transform_of_cmyk_is_what_libjpeg_takes_it_for() -> None:
    data = encoded(image=PHOTO.convert("CMYK"), quality=90)
    at = data.index(b"Adobe") + 11
    odd, ycck = (data[:at] + bytes([transform]) + data[at + 1 :] for transform in (7, 2))

    assert np.array_equal(decoded(odd), decoded(ycck))


def test_motion_jpeg_leaves_its_tables_out() -> None:
    data = encoded(quality=90)
    parts = [data[start:end] for marker, start, end in jpeg.walk(data) if marker != 0xC4]

    assert np.array_equal(decoded(data[:2] + b"".join(parts)), decoded(data))


@pytest.mark.parametrize("padding", [b"\0", b"\0\0\0", b"\0" * 15, b"\0" * 512, b"\x12\x34"])
@pytest.mark.parametrize("image", [PHOTO, PHOTO.convert("L"), FLAT])
@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 3}])
def test_padding_before_restart_markers_is_harmless(
    padding: bytes, image: Image.Image, options: dict[str, object]
) -> None:
    data = encoded(image=image, **options)
    padded = re.sub(rb"(?=\xff[\xd0-\xd7\xd9])", padding, data)

    assert len(padded) > len(data) + 2 * len(padding)
    assert np.array_equal(decoded(padded), decoded(data))


def test_zeros_of_any_number_are_harmless_behind_data_that_ends_in_a_zero_of_its_own() -> None:
    chance = np.random.default_rng(1)
    noise = Image.fromarray(chance.integers(0, 255, (128, 128, 3), np.uint8)).resize((512, 512))
    data = encoded(image=noise, restart_marker_blocks=1)
    own = re.findall(rb"(?<!\xff)\0(?=\xff[\xd0-\xd7])", data)
    padded = re.sub(rb"(?=\xff[\xd0-\xd7\xd9])", lambda _: b"\0" * chance.integers(60), data)

    assert own
    assert np.array_equal(decoded(padded), decoded(data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_zeros_in_place_of_lost_data_are_no_padding(options: dict[str, object]) -> None:
    data = encoded(**options)

    for lost in (4, 8, 40):
        with pytest.raises(JobError):
            decoded(data[: -2 - lost] + b"\0" * 500 + b"\xff\xd9")


def test_zeros_before_the_markers_of_a_progressive_file_are_harmless() -> None:
    data = encoded(progressive=True, restart_marker_rows=1, quality=90)
    padded = re.sub(rb"(?=\xff[\xd0-\xd7\xd9\xda])", b"\0\0\0\0", data)

    assert np.array_equal(decoded(padded), decoded(data))


def test_every_sampling_of_the_padded_kind_is_understood() -> None:
    for sampling in range(3):
        data = encoded(image=FLAT.resize((611, 333)), restart_marker_rows=1, subsampling=sampling)
        padded = re.sub(rb"(?=\xff[\xd0-\xd7])", b"\0" * 7, data)
        assert np.array_equal(decoded(padded), decoded(data))


# --- JPEG: rows are lost ------------------------------------------------------------------------------------


def restarts(data: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]


def interval_lost(data: bytes) -> bytes:
    first, second, *_ = restarts(data)
    return data[:first] + data[second:]


def interval_cut(data: bytes) -> bytes:
    first, second, *_ = restarts(data)
    return data[: (first + second) // 2] + data[second:]


def interval_swapped(data: bytes) -> bytes:
    first, second, third, *_ = restarts(data)
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def one_number_for_all(data: bytes) -> bytes:
    return re.sub(rb"\xff[\xd0-\xd7]", b"\xff\xd0", data)


def interval_scrambled(data: bytes) -> bytes:
    first, second, *_ = restarts(data)
    inside = bytes(byte ^ 0x55 for byte in data[first + 2 : second])
    return data[: first + 2] + inside.replace(b"\xff", b"\xfe") + data[second:]


@pytest.mark.parametrize(
    "damage", [interval_lost, interval_cut, interval_swapped, one_number_for_all, interval_scrambled]
)
@pytest.mark.parametrize("padding", [b"", b"\0\0\0", b"\x12\x34"])
def test_a_damaged_interval_is_refused_and_padding_hides_nothing(
    damage: Callable[[bytes], bytes], padding: bytes
) -> None:
    data = damage(encoded(restart_marker_rows=1, quality=90))

    with pytest.raises(JobError):
        decoded(re.sub(rb"(?=\xff[\xd0-\xd7\xd9])", padding, data))


@pytest.mark.parametrize("make_odd", [icc_of_no_sense, wrong_scan_parameters, adobe_short])
def test_oddities_hide_no_damage(make_odd: Callable[[bytes], bytes]) -> None:
    data = make_odd(encoded(quality=90))

    for lost in (40, 400, 4_000):
        with pytest.raises(ImageTruncated):
            decoded(data[:-lost])
        with pytest.raises(ImageTruncated):
            decoded(data[:-lost] + b"\xff\xd9")


def test_scans_that_contradict_each_other_are_refused() -> None:
    data = encoded(progressive=True, quality=90)
    scans = [(start, end) for marker, start, end in jpeg.walk(data) if marker == 0xDA]
    refinement = data[scans[-1][0] : scans[-1][1]]

    with pytest.raises(JobError):
        decoded(data[:-2] + refinement + b"\xff\xd9")


@pytest.mark.parametrize("filling", [b"\xff\x01", b"\xff\xd8", b"\xff\xdb\0\x02", b"\xff\xd0", b"\0\xff\xd0"])
def test_markers_without_end_neither_change_the_picture_nor_take_memory(filling: bytes) -> None:
    data = encoded()
    tracemalloc.start()

    try:
        assert np.array_equal(decoded((data[:-2] + filling * 4_000_000)[:8_000_000]), decoded(data))
    except JobError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 80_000_000


# --- the others ---------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def broken(one: bytes) -> bytes:
    return one[:-1] + bytes([one[-1] ^ 1])


PNG_EXTRAS = {
    "text of a wrong checksum": broken(chunk(b"tEXt", b"a\0b")),
    "text without a key": chunk(b"tEXt", b"\0\0\0"),
    "text that is no deflate": chunk(b"zTXt", b"a\0\0????"),
    "profile that is none": chunk(b"iCCP", b"p\0\0????"),
    "profile and sRGB": chunk(b"sRGB", b"\0") + chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x")),
    "background out of range": chunk(b"bKGD", b"\xff" * 6),
    "background of a wrong length": chunk(b"bKGD", b"\xff"),
    "gamma of nought": chunk(b"gAMA", b"\0\0\0\0"),
    "a suggested palette of a wrong checksum": broken(chunk(b"PLTE", b"\1\2\3")),
    "a suggested palette of a wrong length": chunk(b"PLTE", b"\1\2\3\4"),
    "transparency of a wrong checksum": broken(chunk(b"tRNS", b"\0\1\0\2\0\3")),
    "an animation that is none": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("extra", PNG_EXTRAS.values(), ids=PNG_EXTRAS.keys())
def test_a_png_is_not_refused_for_what_no_pixel_depends_on(extra: bytes) -> None:
    data = encoded("PNG")

    assert np.array_equal(decoded(data[:33] + extra + data[33:] + b"behind the end" * 99), np.asarray(PHOTO))


def test_a_png_in_many_small_chunks_is_decoded() -> None:
    data = encoded("PNG")
    start, end = data.index(b"IDAT") - 4, len(data) - 12
    packed = data[start + 8 : end - 4]
    small = b"".join(chunk(b"IDAT", packed[at : at + 1]) + chunk(b"IDAT", b"") for at in range(len(packed)))

    assert np.array_equal(decoded(data[:start] + small + data[end:]), np.asarray(PHOTO))


def test_a_png_of_endless_chunks_is_refused() -> None:
    data = encoded("PNG")
    start = data.index(b"IDAT") - 4

    with pytest.raises(ImageUndecodable, match="100000 chunks"):
        decoded(data[:start] + chunk(b"IDAT", b"") * 100_000 + data[start:])


def riff_size(data: bytes, size: int) -> bytes:
    return data[:4] + struct.pack("<I", size) + data[8:]


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}]
)
def test_an_odd_webp_is_decoded(options: dict[str, object]) -> None:
    data = encoded("WEBP", **options)
    whole = decoded(data)

    assert np.array_equal(decoded(data + b"behind the end"), whole)
    assert np.array_equal(decoded(riff_size(data, len(data) - 8 + 1)), whole)
    assert np.array_equal(decoded(riff_size(data, len(data) - 8 - 3)), whole)
    broken_profile = encoded("WEBP", icc_profile=b"no profile", **options)
    assert np.array_equal(decoded(broken_profile), whole)


def test_a_webp_that_lacks_more_than_a_byte_is_refused() -> None:
    data = encoded("WEBP")

    with pytest.raises(ImageTruncated):
        decoded(riff_size(data, len(data) - 8 + 2))


def test_the_first_frame_of_an_animated_webp_lies_on_its_canvas() -> None:
    small = PHOTO.resize((32, 24))
    data = bytearray(
        encoded("WEBP", small, lossless=True, save_all=True, append_images=[small.rotate(180)], duration=99)
    )
    data[24:30] = (63).to_bytes(3, "little") + (39).to_bytes(3, "little")
    at = data.index(b"ANMF") + 8
    data[at : at + 6] = (5).to_bytes(3, "little") + (3).to_bytes(3, "little")

    pixels = decoded(bytes(data))

    assert pixels.shape == (40, 64, 3)
    assert np.array_equal(pixels[6:30, 10:42], np.asarray(small))
    pixels[6:30, 10:42] = 255
    assert pixels.min() == 255


def test_a_frame_of_an_animated_webp_may_not_exceed_its_canvas() -> None:
    data = bytearray(encoded("WEBP", save_all=True, append_images=[PHOTO.rotate(180)]))
    at = data.index(b"ANMF") + 8
    data[at : at + 3] = (1).to_bytes(3, "little")

    with pytest.raises(ImageUndecodable, match="canvas"):
        decoded(bytes(data))


def test_a_gif_without_its_trailer_is_decoded() -> None:
    data = encoded("GIF", PHOTO.quantize(64))
    assert data.endswith(b"\0;")

    assert np.array_equal(decoded(data[:-1]), decoded(data))


def test_a_bmp_of_wrong_sizes_is_decoded() -> None:
    data = encoded("BMP")

    for size in (0, 1, 0xFFFFFFFF):
        odd = bytearray(data)
        struct.pack_into("<I", odd, 2, size)
        struct.pack_into("<I", odd, 34, 0)
        assert np.array_equal(decoded(bytes(odd) + b"behind"), np.asarray(PHOTO))
