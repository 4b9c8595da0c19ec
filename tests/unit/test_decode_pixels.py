"""Every format in every mode: the pixels that come out are those that went in."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from beholder.errors import ImageUndecodable
from beholder.model.decode import png as png_file
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.pixels import lay_on_white, to_rgb

LIMITS = ImageLimits()
HEIGHT, WIDTH = 48, 64
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([COLUMNS * 4, ROWS * 5, (COLUMNS + ROWS) * 2], -1).astype(np.uint8)
ALPHA = (COLUMNS * 4).astype(np.uint8)
COLOUR = Image.fromarray(RGB)
GREY = COLOUR.convert("L")
PALETTE = COLOUR.quantize(64)
BITS = GREY.convert("1")
CMYK = COLOUR.convert("CMYK")
CLEAR = COLOUR.copy()
CLEAR.putalpha(Image.fromarray(ALPHA))
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, shorter_side_min: int | None = None) -> NDArray[np.uint8]:
    pixels = decode(data, read_header(data, LIMITS), shorter_side_min=shorter_side_min)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    return pixels


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def on_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.rint(colour * (alpha[..., None] / 255) + 255 - alpha[..., None])


def assert_near(pixels: NDArray[np.uint8], expected: NDArray[np.generic], tolerance: int = 0) -> None:
    assert pixels.shape == (*expected.shape[:2], 3)
    assert np.abs(pixels.astype(float) - expected.astype(float)).max() <= tolerance


LOSSLESS = [
    (COLOUR, "PNG", {}),
    (GREY, "PNG", {}),
    (PALETTE, "PNG", {}),
    (BITS, "PNG", {}),
    (COLOUR.quantize(4), "PNG", {"bits": 2}),
    (COLOUR.quantize(16), "PNG", {"bits": 4}),
    (COLOUR, "WEBP", {"lossless": True}),
    (PALETTE, "GIF", {}),
    (PALETTE, "GIF", {"interlace": 0}),
    (PALETTE, "GIF", {"save_all": True, "append_images": [PALETTE.rotate(90)]}),
    (COLOUR, "WEBP", {"lossless": True, "save_all": True, "append_images": [COLOUR.rotate(180)]}),
    (COLOUR, "PNG", {"save_all": True, "append_images": [COLOUR.rotate(180)]}),
    (COLOUR, "TIFF", {"save_all": True, "append_images": [COLOUR.rotate(180)]}),
    (GREY, "GIF", {}),
    (BITS, "GIF", {}),
    *((image, "BMP", {}) for image in (COLOUR, GREY, PALETTE, BITS)),
    *((image, "TIFF", {}) for image in (COLOUR, GREY, PALETTE, BITS, CMYK)),
    *((COLOUR, "TIFF", {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
    (COLOUR, "TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: 5, 317: 2}}),
    (COLOUR, "TIFF", {"tiffinfo": {278: 5}}),
    (CMYK, "TIFF", {"compression": "tiff_lzw"}),
    (BITS, "TIFF", {"compression": "packbits"}),
]


@pytest.mark.parametrize(("image", "kind", "options"), LOSSLESS)
def test_a_lossless_format_gives_back_every_pixel(
    image: Image.Image, kind: str, options: dict[str, object]
) -> None:
    assert_near(decoded(encoded(image, kind, **options)), rgb_of(image))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 2}])
@pytest.mark.parametrize("image", [COLOUR, GREY])
def test_a_jpeg_comes_close(image: Image.Image, options: dict[str, object]) -> None:
    assert_near(decoded(encoded(image, "JPEG", quality=95, **options)), rgb_of(image), 8)


@pytest.mark.parametrize("options", [{}, {"save_all": True, "append_images": [COLOUR.rotate(180)]}])
def test_a_lossy_webp_comes_close(options: dict[str, object]) -> None:
    assert_near(decoded(encoded(COLOUR, "WEBP", quality=95, **options)), RGB, 10)


@pytest.mark.parametrize(
    ("ink", "colour"),
    [
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 0), (255, 255, 255)),
        ((10, 100, 200, 30), (216, 137, 49)),
    ],
)
def test_cmyk_ink_becomes_the_colour_a_printer_means(ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    data = encoded(Image.new("CMYK", (32, 32), ink), "JPEG", quality=100)

    assert_near(decoded(data), np.full((32, 32, 3), colour), 2)


def test_a_ycck_jpeg_is_told_by_its_adobe_segment() -> None:
    # Transform 2: luma and chroma of the complement of what is stored, which is ink inverted; black as it is.
    ycc = np.asarray(Image.fromarray(255 - RGB).convert("YCbCr"))
    planes = np.concatenate([ycc, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], -1)
    # Pillow inverts the four planes on their way into a file.
    data = encoded(Image.frombytes("CMYK", (WIDTH, HEIGHT), (255 - planes).tobytes()), "JPEG", quality=98)
    at = data.index(b"Adobe") + 11
    data = data[:at] + b"\2" + data[at + 1 :]

    assert_near(decoded(data), RGB, 8)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("WEBP", {"lossless": True, "exact": True, "save_all": True, "append_images": [CLEAR.rotate(180)]}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_transparency_is_laid_on_white(kind: str, options: dict[str, object]) -> None:
    assert_near(decoded(encoded(CLEAR, kind, **options)), on_white(RGB, ALPHA), 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_is_laid_on_white(kind: str) -> None:
    image = CLEAR.convert("LA")

    assert_near(decoded(encoded(image, kind)), on_white(rgb_of(GREY), ALPHA), 1)


def test_a_bmp_with_an_alpha_mask_is_laid_on_white() -> None:
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 56, 1, -2, 1, 32, 3, 0, 0, 0, 0, 0) + masks
    file = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(info)) + info + b"\x10\x20\x30\xff\x10\x20\x30\x00"
    header = read_header(file, ImageLimits(image_side_min=1))

    assert decode(file, header).tolist() == [[[0x30, 0x20, 0x10]], [[255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_turns_white(kind: str) -> None:
    expected = np.where((np.asarray(PALETTE) == 5)[..., None], 255, rgb_of(PALETTE))

    assert_near(decoded(encoded(PALETTE, kind, transparency=5)), expected)


def test_a_palette_may_be_half_transparent() -> None:
    data = encoded(PALETTE, "PNG", transparency=bytes([128] * 64))

    assert_near(decoded(data), on_white(rgb_of(PALETTE), np.full((HEIGHT, WIDTH), 128)), 1)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: bytes, depth: int, colour: int, key: bytes = b"") -> bytes:
    """Write an 8 by 8 PNG of a kind that Pillow cannot write; `rows` without filter bytes."""
    stride = len(rows) // 8
    raw = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    return png_of_raw(raw, (8, 8), depth, colour, key=key)


def png_of_raw(
    raw: bytes, size: tuple[int, int], depth: int, colour: int, *, key: bytes = b"", interlace: int = 0
) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace))
        + (chunk(b"tRNS", key) if key else b"")
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_a_transparent_colour_is_compared_in_the_depth_of_the_file() -> None:
    two_bits = png(bytes([0b00011011] * 16), 2, 0, struct.pack(">H", 2))
    four_bits = png(bytes([0x2A] * 32), 4, 0, struct.pack(">H", 10))
    one_bit = png(bytes([0b01010101] * 8), 1, 0, struct.pack(">H", 0))
    deep_grey = png(struct.pack(">H", 0x4000) * 64, 16, 0, struct.pack(">H", 0x4000))
    deep_colour = png(struct.pack(">HHH", 1, 2, 3) * 64, 16, 2, struct.pack(">HHH", 1, 2, 3))

    assert decoded(two_bits)[0, :4, 0].tolist() == [0, 85, 255, 255]
    assert decoded(four_bits)[0, :2, 0].tolist() == [34, 255]
    assert decoded(one_bit).min() == 255
    assert decoded(deep_grey).min() == 255
    assert decoded(deep_colour).min() == 255


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]
)
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str, options: dict[str, object]) -> None:
    assert_near(decoded(encoded(DEEP, kind, **options)), rgb_of(GREY))


def test_sixteen_bit_colour_is_scaled() -> None:
    colour = png(struct.pack(">HHH", 0xFFFF, 0x8000, 0x0100) * 64, 16, 2)
    clear = png(struct.pack(">HHHH", 0xFFFF, 0x8000, 0x0100, 0xFFFF) * 64, 16, 6)
    grey = png(struct.pack(">HH", 0x8000, 0) * 64, 16, 4)

    assert decoded(colour)[0, 0].tolist() == [255, 128, 1]
    assert decoded(clear)[0, 0].tolist() == [255, 128, 1]
    assert decoded(grey)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_white_may_be_zero_at_sixteen_bits(compression: str | None) -> None:
    data = encoded(DEEP, "TIFF", tiffinfo={262: 0}, **({"compression": compression} if compression else {}))
    at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    data = data[:at] + b"\0\0" + data[at + 2 :]

    assert_near(decoded(data), 255 - rgb_of(GREY))


@pytest.mark.parametrize(
    "values",
    [
        np.asarray(GREY).astype(np.float32) / 255,
        np.asarray(GREY).astype(np.float32),
        np.asarray(GREY).astype(np.float32) * 257,
        np.asarray(GREY).astype(np.int32) * 257,
        np.asarray(GREY).astype(np.int32),
    ],
)
def test_a_deep_tiff_is_scaled_by_the_smallest_usual_white(values: NDArray[np.generic]) -> None:
    assert_near(decoded(encoded(Image.fromarray(values), "TIFF")), rgb_of(GREY), 1)


def test_what_is_no_number_is_black() -> None:
    values = np.asarray(GREY).astype(np.float32) / 255
    values[0, :3] = (np.nan, np.inf, -np.inf)

    pixels = decoded(encoded(Image.fromarray(values), "TIFF"))

    assert pixels[0, :3].max() == 0
    assert_near(pixels[1:], rgb_of(GREY)[1:], 1)


def test_a_large_image_is_the_same_across_bands() -> None:
    image = CLEAR.resize((1_600, 1_000))
    colour, alpha = np.asarray(image)[..., :3], np.asarray(image)[..., 3]

    assert_near(decoded(encoded(image, "PNG", compress_level=1)), on_white(colour, alpha), 1)


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA", "YCbCr", "HSV", "RGBX"])
def test_every_mode_that_a_codec_may_leave_is_understood(mode: str) -> None:
    steps = {"La": "LA", "RGBa": "RGBA", "PA": "LA"}
    image = COLOUR.convert(steps.get(mode, "RGB")).convert(mode)

    expected = rgb_of(GREY) if mode in {"La", "PA"} else RGB

    assert_near(to_rgb(image), expected, 6)


def test_laying_on_white_rounds_like_a_division() -> None:
    rgba = np.stack(np.meshgrid(*(np.arange(256, dtype=np.uint8),) * 2), -1)[..., [0, 0, 0, 1]]
    pixels = np.empty((256, 256, 3), np.uint8)

    lay_on_white(rgba, pixels)

    exact = rgba[..., :1] * (rgba[..., 3:] / 255) + 255 - rgba[..., 3:]
    assert np.array_equal(pixels[..., :1], np.floor(exact + 0.5))


def test_a_large_jpeg_is_decoded_no_smaller_than_asked() -> None:
    data = encoded(COLOUR.resize((1_600, 1_200)), "JPEG", quality=90)

    assert decoded(data).shape == (1_200, 1_600, 3)
    assert decoded(data, 512).shape == (600, 800, 3)
    assert decoded(data, 1_200).shape == (1_200, 1_600, 3)
    assert decoded(data, 5_000).shape == (1_200, 1_600, 3)
    small = np.asarray(COLOUR.resize((1_600, 1_200)).resize((800, 600), Image.Resampling.BOX))
    assert_near(decoded(data, 600), small, 12)


def test_pixels_of_another_size_than_the_header_said_are_refused() -> None:
    small, large = encoded(COLOUR, "JPEG"), encoded(COLOUR.resize((128, 96)), "JPEG")
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
        small, large = encoded(COLOUR, kind), encoded(COLOUR.resize((128, 96)), kind)
        with pytest.raises(ImageUndecodable, match="128 by 96"):
            decode(large, read_header(small, LIMITS))


def test_a_webp_frame_may_not_exceed_its_canvas() -> None:
    data = bytearray(encoded(CLEAR, "WEBP"))
    assert data[12:16] == b"VP8X"
    data[24:27] = (19).to_bytes(3, "little")

    with pytest.raises(ImageUndecodable):
        decoded(bytes(data))


def test_a_gif_frame_beyond_the_screen_is_held_by_the_canvas() -> None:
    data = bytearray(encoded(PALETTE, "GIF"))
    struct.pack_into("<HH", data, 6, 10, 10)

    assert_near(decoded(bytes(data)), rgb_of(PALETTE))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 8), (13, 9)])
def test_an_interlaced_png_is_decoded(size: tuple[int, int]) -> None:
    width, height = size
    rows = []
    for left, top, right, down in png_file._PASSES:
        passed = RGB[top:height:down, left:width:right] if left < width and top < height else RGB[:0]
        rows += [b"\0" + row.tobytes() for row in passed]
    data = png_of_raw(b"".join(rows), size, 8, 2, interlace=1)

    pixels = decode(data, read_header(data, ImageLimits(image_side_min=1)))

    assert np.array_equal(pixels, RGB[:height, :width])
