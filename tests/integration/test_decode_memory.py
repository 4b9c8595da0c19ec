"""Bytes a pixel, for every format and mode, measured at the peak of a process of its own."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from beholder.model.decode import heif, jpeg, png, tiff
from beholder.model.decode.limits import ImageLimits

LIMITS = ImageLimits()
BYTES_PER_PIXEL_MAX = 8
# A band of pixels in several forms, codecs' tables, the decoder's own code.
FIXED_BYTES = 16_000_000
SIDE = 2_400
PIXELS = SIDE * SIDE


@cache
def grey() -> Image.Image:
    return Image.linear_gradient("L").resize((SIDE, SIDE))


@cache
def colour() -> Image.Image:
    return grey().convert("RGB")


@cache
def clear() -> Image.Image:
    image = colour().copy()
    image.putalpha(Image.new("L", (SIDE, SIDE), 99))
    return image


def plain(mode: str) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), (9, 99, 199, 99)[: len(mode)])


@cache
def deep() -> np.ndarray:
    return np.asarray(grey()).astype(np.uint16) * 257


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or colour()).save(file, kind, **options)
    return file.getvalue()


def by_opencv(suffix: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def animated(kind: str, image: Image.Image, **options: object) -> bytes:
    return encoded(kind, image, save_all=True, append_images=[image.rotate(90)], **options)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def plain_png(depth: int, colour: int, channels: int, *, is_interlaced: bool = False) -> bytes:
    passes = png._PASSES if is_interlaced else ((0, 0, 1, 1),)
    packer = zlib.compressobj(1)
    packed = []
    for left, top, right, down in passes:
        row = b"\0" + b"\x40" * (-(-(SIDE - left) // right) * channels * depth // 8)
        packed += [packer.compress(row) for _ in range(-(-(SIDE - top) // down))]
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, is_interlaced)
    data = b"".join(packed) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def run_length_bmp() -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, 0, 0, 0, 256, 0)
    palette = b"".join(bytes([one, one, one, 0]) for one in range(256))
    codes = (b"\xc8\x41" * (SIDE // 200) + b"\0\0") * SIDE + b"\0\1"
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1_078) + info + palette + codes


ONE_STRIP = {"tiffinfo": {278: SIDE}}
LOSSY = {"quality": 10, "method": 0}
LOSSLESS = {"lossless": True, "quality": 0, "method": 0}
FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded("JPEG", quality=50),
    "jpeg grey": lambda: encoded("JPEG", grey(), quality=50),
    "jpeg cmyk": lambda: encoded("JPEG", colour().convert("CMYK"), quality=50),
    "jpeg progressive": lambda: encoded("JPEG", quality=50, progressive=True),
    "png": lambda: plain_png(8, 2, 3),
    "png grey": lambda: plain_png(8, 0, 1),
    "png of a bit": lambda: encoded("PNG", grey().convert("1")),
    "png palette": lambda: encoded("PNG", colour().quantize(64)),
    "png palette, half transparent": lambda: encoded(
        "PNG", colour().quantize(64), transparency=bytes([99] * 64)
    ),
    "png with a transparent colour": lambda: encoded("PNG", transparency=(1, 2, 3)),
    "png alpha": lambda: plain_png(8, 6, 4),
    "png alpha, interlaced": lambda: plain_png(8, 6, 4, is_interlaced=True),
    "png 16-bit grey": lambda: plain_png(16, 0, 1),
    "png 16-bit grey alpha": lambda: plain_png(16, 4, 2),
    "png 16-bit": lambda: plain_png(16, 2, 3),
    "png 16-bit alpha": lambda: plain_png(16, 6, 4),
    "png 16-bit alpha, interlaced": lambda: plain_png(16, 6, 4, is_interlaced=True),
    "png animated": lambda: animated("PNG", clear(), compress_level=1),
    "gif": lambda: encoded("GIF", grey()),
    "gif animated": lambda: animated("GIF", colour().quantize(8), transparency=3),
    "webp": lambda: encoded("WEBP", **LOSSY),
    "webp alpha": lambda: encoded("WEBP", clear(), **LOSSY),
    "webp lossless": lambda: encoded("WEBP", plain("RGB"), **LOSSLESS),
    "webp lossless alpha": lambda: encoded("WEBP", plain("RGBA"), **LOSSLESS),
    "webp animated": lambda: animated("WEBP", colour(), **LOSSY),
    "webp animated alpha": lambda: animated("WEBP", clear(), **LOSSY),
    "webp animated lossless": lambda: animated("WEBP", plain("RGBA"), **LOSSLESS),
    "heic": lambda: heic("RGB"),
    "bmp run-length": run_length_bmp,
    "tiff": lambda: encoded("TIFF", compression="tiff_lzw", **ONE_STRIP),
    "tiff alpha": lambda: encoded("TIFF", clear(), compression="tiff_lzw", **ONE_STRIP),
    "tiff cmyk": lambda: encoded("TIFF", colour().convert("CMYK"), compression="tiff_lzw", **ONE_STRIP),
    "tiff palette": lambda: encoded("TIFF", colour().quantize(64), compression="tiff_lzw", **ONE_STRIP),
    "tiff float": lambda: encoded("TIFF", grey().convert("F"), compression="tiff_adobe_deflate", **ONE_STRIP),
    "tiff 32-bit": lambda: encoded("TIFF", grey().convert("I"), compression="tiff_lzw", **ONE_STRIP),
    "tiff 16-bit grey": lambda: encoded("TIFF", Image.fromarray(deep()), compression="tiff_lzw", **ONE_STRIP),
    "tiff 16-bit": lambda: by_opencv(".tif", np.dstack([deep()] * 3)),
    "tiff 16-bit alpha": lambda: by_opencv(".tif", np.dstack([deep()] * 4)),
}
# Not compressed: the file itself takes some bytes a pixel, which `image_bytes_max` bounds.
RAW_FILES: dict[str, Callable[[], bytes]] = {
    "bmp": lambda: encoded("BMP"),
    "bmp alpha": lambda: encoded("BMP", clear()),
    "tiff raw": lambda: encoded("TIFF"),
    "tiff raw float": lambda: encoded("TIFF", grey().convert("F")),
}
MEASURE = """
import sys
from pathlib import Path
from beholder.model.decode.limits import ImageLimits
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.prepare import prepare
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1_024
data = Path(sys.argv[1]).read_bytes()
before = peak()
limits = ImageLimits(image_bytes_max=len(data))
print(prepare(data, Preprocessing(kind=PreprocessingKind.AS_IS, size=None), limits).shape[:2])
print(peak() - before)
"""


def grown_by(data: bytes, folder: Path) -> int:
    """Return by how many bytes a process grows that decodes `data` at its full size."""
    path = folder / "image"
    path.write_bytes(data)
    # ru_maxrss of a child begins at its parent's; the peak of its own address space does not.
    run = [sys.executable, "-c", MEASURE, str(path)]
    shape, peak = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shape == str((SIDE, SIDE))
    return int(peak)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_pixel_takes_eight_bytes_at_most(name: str, tmp_path: Path) -> None:
    data = FILES[name]()

    assert len(data) < 4_000_000
    assert grown_by(data, tmp_path) < PIXELS * BYTES_PER_PIXEL_MAX + FIXED_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", RAW_FILES)
def test_an_uncompressed_file_is_held_twice_at_most(name: str, tmp_path: Path) -> None:
    data = RAW_FILES[name]()

    assert grown_by(data, tmp_path) < PIXELS * BYTES_PER_PIXEL_MAX + len(data) + FIXED_BYTES


def heic(mode: str, **options: object) -> bytes:
    file = io.BytesIO()
    samples = {"RGB": colour().tobytes, "RGBA": clear().tobytes, "RGB;16": np.dstack([deep()] * 3).tobytes}
    image = pillow_heif.from_bytes(mode, (SIDE, SIDE), samples[mode]())
    image.save(file, enc_params={"preset": "ultrafast"}, **options)
    return file.getvalue()


FAST = {"speed": 10, "quality": 50}
LARGER_FILES: dict[str, tuple[Callable[[], bytes], Callable[[bytes], int]]] = {
    "jpeg progressive 4:4:4": (
        lambda: encoded("JPEG", quality=50, progressive=True, subsampling=0),
        jpeg.read_decoder_bytes,
    ),
    "jpeg progressive cmyk": (
        lambda: encoded("JPEG", colour().convert("CMYK"), quality=50, progressive=True),
        jpeg.read_decoder_bytes,
    ),
    "avif": (lambda: encoded("AVIF", **FAST), heif.read_decoder_bytes),
    "avif 4:4:4": (lambda: encoded("AVIF", subsampling="4:4:4", **FAST), heif.read_decoder_bytes),
    "avif alpha": (lambda: encoded("AVIF", clear(), **FAST), heif.read_decoder_bytes),
    "avif 16-bit": (
        lambda: by_opencv(
            ".avif", np.dstack([deep() >> 6] * 3), cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_SPEED, 10
        ),
        heif.read_decoder_bytes,
    ),
    "heic 4:4:4": (lambda: heic("RGB", chroma=444), heif.read_decoder_bytes),
    "heic alpha": (lambda: heic("RGBA"), heif.read_decoder_bytes),
    "heic 16-bit": (lambda: heic("RGB;16"), heif.read_decoder_bytes),
    "tiff 16-bit strip": (
        lambda: by_opencv(".tif", np.dstack([deep()] * 3), cv2.IMWRITE_TIFF_ROWSPERSTRIP, SIDE),
        tiff.read_decoder_bytes,
    ),
    "tiff 16-bit alpha strip": (
        lambda: by_opencv(".tif", np.dstack([deep()] * 4), cv2.IMWRITE_TIFF_ROWSPERSTRIP, SIDE),
        tiff.read_decoder_bytes,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER_FILES)
def test_what_takes_more_is_told_by_its_header(name: str, tmp_path: Path) -> None:
    make, told = LARGER_FILES[name]
    data = make()

    # `read_header` refuses it when that is more than eight bytes a pixel of the largest image.
    assert told(data) > PIXELS * BYTES_PER_PIXEL_MAX
    assert grown_by(data, tmp_path) < told(data) + FIXED_BYTES
