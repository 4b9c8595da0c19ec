"""A small file that swells or goes on for ever costs no more than its header promised."""

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beholder.errors import ImageHeaderInvalid, ImagePixelsTooMany, JobError
from beholder.model.decode import bmp, jpeg, png, tiff
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits

LIMITS = ImageLimits()
SMALL = Image.linear_gradient("L").resize((200, 200))


def encoded(kind: str, image: Image.Image = SMALL, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def swollen(size: int) -> bytes:
    """Compress zeros without ever holding them: after a full flush the same bytes mean the same again."""
    packer = zlib.compressobj(9)
    start, again = (packer.compress(b"\0" * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return start + again * (size // 1_000_000 - 1) + packer.flush()


def png_bomb(size: int, *, depth: int = 8, colour: int = 0, interlace: int = 0, pieces: int = 1) -> bytes:
    packed = swollen(size)
    step = -(-len(packed) // pieces)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 200, 200, depth, colour, 0, 0, interlace))
        + (chunk(b"PLTE", b"\0" * 6) if colour == 3 else b"")
        + b"".join(chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
        + chunk(b"IEND", b"")
    )


def tiff_bomb(size: int, compression: int = 8) -> bytes:
    data = swollen(size)
    entries = {
        256: 200,
        257: 200,
        258: 8,
        259: compression,
        262: 1,
        273: 200,
        277: 1,
        278: 200,
        279: len(data),
    }
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body).ljust(200, b"\0") + data


def gif_bomb(size: int) -> bytes:
    data = encoded("GIF")
    return data[:-2] + (b"\xff" + b"\x55" * 255) * (size // 256) + b"\0;"


def webp_bomb(size: int) -> bytes:
    data = encoded("WEBP", SMALL.convert("RGB"), lossless=True, icc_profile=b"x")
    return data + b"ICCP" + struct.pack("<I", size) + b"\0" * size


def riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content


@cache
def large_webp_picture(*, is_lossless: bool) -> bytes:
    """Return the chunk of 144 million pixels of one colour."""
    if is_lossless:  # every code has a single symbol, so that no pixel takes a bit
        return encoded("WEBP", Image.new("RGB", (12_000, 12_000)), lossless=True, quality=0, method=0)[12:]
    # One macroblock's header is as good as another's: the sides are written over, and the data ends early.
    small = encoded("WEBP", SMALL.convert("RGB"), quality=1)[12:]
    return small[:14] + struct.pack("<HH", 12_000, 12_000) + small[18:]


def webp_picture_bomb(*, is_lossless: bool, is_animated: bool) -> bytes:
    """Write a WebP of 200 by 200 pixels that holds a picture of 12,000 by 12,000."""
    sides, picture = (199).to_bytes(3, "little") * 2, large_webp_picture(is_lossless=is_lossless)
    chunks = riff(b"VP8X", bytes([2 * is_animated, 0, 0, 0]) + sides)
    if is_animated:
        chunks += riff(b"ANIM", b"\0" * 6) + riff(b"ANMF", b"\0" * 6 + sides + b"\0" * 4 + picture)
    else:
        chunks += picture
    return riff(b"RIFF", b"WEBP" + chunks)


def bmp_bomb(codes: bytes, size: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, 200, 200, 1, 8, 1, size, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1_078) + info + b"\0" * 1_024 + codes * (size // len(codes))


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: png_bomb(600_000_000),
    "png in pieces": lambda: png_bomb(600_000_000, pieces=50),
    "png of a bit": lambda: png_bomb(600_000_000, depth=1),
    "png with a palette": lambda: png_bomb(600_000_000, colour=3),
    "png interlaced": lambda: png_bomb(600_000_000, interlace=1),
    "png 16 bit": lambda: png_bomb(600_000_000, depth=16, colour=6),
    "tiff": lambda: tiff_bomb(600_000_000),
    "gif": lambda: gif_bomb(5_000_000),
    "webp": lambda: webp_bomb(5_000_000),
    "webp of a larger picture": lambda: webp_picture_bomb(is_lossless=True, is_animated=False),
    "webp of a larger frame": lambda: webp_picture_bomb(is_lossless=True, is_animated=True),
    "webp of a larger lossy picture": lambda: webp_picture_bomb(is_lossless=False, is_animated=False),
    "webp of a larger lossy frame": lambda: webp_picture_bomb(is_lossless=False, is_animated=True),
    "bmp that does nothing": lambda: bmp_bomb(b"\0\2\0\0", 19_000_000),
    "bmp of ends of lines": lambda: bmp_bomb(b"\0\0", 19_000_000),
    "jpeg": lambda: encoded("JPEG")[:-2] + b"\x55" * 19_000_000 + b"\xff\xd9",
}

# In a process of its own: the peak of a process never falls, and a parent's counts for its child unless it is
# read from the child's own address space.
MEASURE = """
import sys
from pathlib import Path
from beholder.errors import JobError
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1_024
for path in sys.argv[1:]:
    data = Path(path).read_bytes()
    before = peak()
    try:
        decode(data, read_header(data, ImageLimits()))
    except JobError:
        pass
    print(peak() - before - len(data))
"""


def test_no_bomb_takes_more_than_a_few_copies_of_its_file(tmp_path: Path) -> None:
    for at, make in enumerate(BOMBS.values()):
        (tmp_path / str(at)).write_bytes(make())
    files = [str(tmp_path / str(at)) for at in range(len(BOMBS))]

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True, timeout=120
    )

    grown = dict(zip(BOMBS, (int(line) for line in done.stdout.split()), strict=True))
    assert max(grown.values()) < 64_000_000, grown
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["png", "png in pieces", "png of a bit", "png with a palette", "tiff"])
def test_what_comes_after_the_last_row_is_left_alone(name: str) -> None:
    data = BOMBS[name]()

    assert decode(data, read_header(data, LIMITS)).shape == (200, 200, 3)


def test_a_png_is_not_inflated_beyond_what_its_header_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated = 0

    class Counting:
        def __init__(self) -> None:
            self._inflater = zlib_decompressobj()

        def __getattr__(self, name: str) -> object:
            return getattr(self._inflater, name)

        def decompress(self, data: bytes, size: int) -> bytes:
            nonlocal inflated
            rows = self._inflater.decompress(data, size)
            inflated += len(rows)
            return rows

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    png.essential(png_bomb(3_000_000))

    assert inflated == 200 * 201


def test_the_codes_of_a_bmp_are_cut_off_where_its_pixels_must_be_full() -> None:
    assert len(bmp.essential(bmp_bomb(b"\0\0", 19_000_000))) < 200_000
    plain = encoded("BMP") + b"behind"
    assert bmp.essential(plain) == plain


def tiff_of(entries: dict[int, tuple[int, ...]], tail: bytes) -> bytes:
    """Write a TIFF whose directory stands first; values of more than one lie between it and `tail`."""
    start = 8 + 2 + 12 * len(entries) + 4
    body, arrays = b"", b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", start + len(arrays))
        body += struct.pack("<HHI", tag, 4, len(values)) + place
        arrays += packed if len(values) > 1 else b""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0" * 4 + arrays + tail


PLAIN_TIFF = {256: (200,), 257: (200,), 258: (8,), 259: (1,), 262: (1,), 277: (1,), 278: (100,)}


def test_strips_beyond_the_last_row_are_not_decoded() -> None:
    many = 100_000
    size = 8 + 2 + 12 * 9 + 4 + many * 8
    rows = np.arange(200 * 200, dtype=np.uint32).astype(np.uint8)
    starts = (size, size + 100 * 200) * (many // 2)
    data = tiff_of({**PLAIN_TIFF, 273: starts, 279: (100 * 200,) * many}, rows.tobytes())

    small = tiff.essential(data)

    assert len(tiff.read_directory(small)[273].values) == 2
    assert np.array_equal(decode(data, read_header(data, LIMITS))[..., 0].ravel(), rows)


def test_strips_that_lie_upon_each_other_are_refused() -> None:
    many = 200
    start = 8 + 2 + 12 * 9 + 4 + many * 8
    layout = {**PLAIN_TIFF, 259: (8,), 278: (1,), 273: (start,) * many, 279: (1_000_000,) * many}
    data = tiff_of(layout, b"\0" * 1_000_000)

    with pytest.raises(JobError, match="upon each other"):
        decode(data, read_header(data, LIMITS))


def test_a_value_that_is_repeated_endlessly_is_refused_whatever_its_type() -> None:
    data = bytearray(tiff_of({**PLAIN_TIFF, 273: (200,), 279: (0,), 532: (1, 2)}, b"\0" * 2_000_000))
    at = data.index(struct.pack("<HHI", 532, 4, 2))
    struct.pack_into("<HHI", data, at, 532, 5, 200_000)

    with pytest.raises(ImageHeaderInvalid, match="200000 values"):
        tiff.read_directory(bytes(data))


def test_a_strip_that_is_larger_than_the_picture_may_be_is_refused() -> None:
    layout = {
        256: (6_400,),
        257: (8_000,),
        258: (16,),
        259: (8,),
        262: (2,),
        277: (4,),
        279: (9,),
        273: (200,),
    }

    assert read_header(tiff_of({**layout, 278: (4_000,)}, b"\0" * 200), LIMITS).width == 6_400
    assert read_header(tiff_of({**layout, 259: (1,), 278: (8_000,)}, b"\0" * 200), LIMITS).width == 6_400
    with pytest.raises(ImagePixelsTooMany, match="bytes to decode"):
        read_header(tiff_of({**layout, 278: (8_000,)}, b"\0" * 200), LIMITS)


def test_a_progressive_jpeg_that_takes_more_than_others_is_refused() -> None:
    small = encoded("JPEG", SMALL.convert("RGB"), progressive=True, subsampling=0)
    at = next(start for marker, start, _ in jpeg.segments(small) if marker in jpeg.FRAME_MARKERS)

    def of(width: int, height: int) -> bytes:
        return small[: at + 1] + struct.pack(">HH", height, width) + small[at + 5 :]

    assert read_header(of(7_000, 8_000), LIMITS).width == 7_000
    with pytest.raises(ImagePixelsTooMany, match="bytes to decode"):
        read_header(of(8_000, 8_000), LIMITS)


@pytest.mark.parametrize("filling", [b"\xff\xd0", b"\0\xff\xd0", b"\0\0\xff\xd0\xff\xd1"])
def test_restart_markers_without_end_take_no_memory(filling: bytes) -> None:
    data = encoded("JPEG", restart_marker_blocks=3)
    data = data[:-2] + (filling * 2_000_000)[:6_000_000] + b"\x12\x34\xff\xd9"
    tracemalloc.start()

    try:
        decode(data, read_header(data, LIMITS))
    except JobError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50_000_000


def test_what_codecs_print_of_damaged_images_is_kept_out_of_the_log(tmp_path: Path) -> None:
    colour = SMALL.convert("RGB")
    damaged = {}
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        damaged[name] = bytearray(encoded("TIFF", colour, compression=name))
    damaged["webp"] = bytearray(encoded("WEBP", colour))
    damaged["gif"] = bytearray(encoded("GIF", colour.quantize(64)))
    damaged["jpeg"] = bytearray(encoded("JPEG", colour))
    damaged["samples"] = bytearray(
        tiff_of({**PLAIN_TIFF, 277: (9,), 273: (200,), 279: (90_000,)}, b"\0" * 360_000)
    )
    for name, data in damaged.items():
        middle = len(data) // 2
        data[middle : middle + 60] = b"\xaa" * 60
        (tmp_path / name).write_bytes(data)

    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", MEASURE, *(str(tmp_path / name) for name in damaged)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == ""
