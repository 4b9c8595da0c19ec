"""Reads an upload's format and size from its header; the web tier does so before it accepts the job.

No pixel is decoded and no codec is imported: the check takes microseconds, and only `struct` reads hostile
bytes. The decoder will allocate the size that is returned; `decode` refuses an image whose data has another.
"""

from dataclasses import dataclass
from enum import StrEnum

from beholder.errors import (
    ImageMissing,
    ImagePixelsTooMany,
    ImageSideTooLong,
    ImageSideTooShort,
    ImageTooLarge,
    ImageTypeUnsupported,
)
from beholder.model.decode import bmp, gif, heif, jpeg, png, tiff, webp
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.sniff import refusal_of
from beholder.model.extras import is_installed

__all__ = ["ImageFormat", "ImageHeader", "read_header"]


class ImageFormat(StrEnum):
    """The image formats that are accepted."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    TIFF = "tiff"
    BMP = "bmp"
    AVIF = "avif"
    HEIC = "heic"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image's header says.

    Args:
        format: By the file's first bytes, never by its name.
        width: Columns as stored, in pixels, before the Exif orientation is applied.
        height: Rows as stored, in pixels.
    """

    format: ImageFormat
    width: int
    height: int


_READERS = {
    ImageFormat.JPEG: jpeg.read_size,
    ImageFormat.PNG: png.read_size,
    ImageFormat.WEBP: webp.read_size,
    ImageFormat.GIF: gif.read_size,
    ImageFormat.TIFF: tiff.read_size,
    ImageFormat.BMP: bmp.read_size,
    ImageFormat.AVIF: heif.read_size,
    ImageFormat.HEIC: heif.read_size,
}
# Formats of which some files need more memory than others of their size.
_MEMORY_READERS = {
    ImageFormat.JPEG: jpeg.read_decoder_bytes,
    ImageFormat.TIFF: tiff.read_decoder_bytes,
    ImageFormat.AVIF: heif.read_decoder_bytes,
    ImageFormat.HEIC: heif.read_decoder_bytes,
}
_MAGIC = {
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    b"RIFF": ImageFormat.WEBP,
    b"GIF89a": ImageFormat.GIF,
    b"GIF87a": ImageFormat.GIF,
    b"II*\0": ImageFormat.TIFF,
    b"MM\0*": ImageFormat.TIFF,
    b"II+\0\x08\0\0\0": ImageFormat.TIFF,
    b"MM\0+\0\x08\0\0": ImageFormat.TIFF,
    b"BM": ImageFormat.BMP,
}
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_DECODER_BYTES_PER_PIXEL = 8
_WITHOUT_HEIC = (
    "This is a HEIC image, as phones take them; the service reads it only with its extra heic (the package "
    "pillow-heif), so convert it to JPEG."
)


def read_header(data: bytes, limits: ImageLimits) -> ImageHeader:
    """Return the format and size of an image, or refuse it.

    Args:
        data: The whole file as it was uploaded.
        limits: The bounds on the image.

    Raises:
        ImageMissing: `data` is empty.
        ImageTooLarge: It has more bytes than allowed.
        ImageTypeUnsupported: Its format is none of ours, or of a kind that no decoder here reads.
        ImageHeaderInvalid: Its header is damaged or cut off.
        ImageSideTooShort: A side is shorter than allowed.
        ImageSideTooLong: A side is longer than allowed.
        ImagePixelsTooMany: Width times height is more than allowed, or the memory that decoding takes.
    """
    if not data:
        raise ImageMissing
    if len(data) > limits.image_bytes_max:
        raise ImageTooLarge(
            f"The upload has {len(data)} bytes, more than the {limits.image_bytes_max} allowed; "
            "send a smaller or more compressed image."
        )
    image_format = _format_of(data)
    width, height = _READERS[image_format](data)
    _check_size(width, height, limits)
    if image_format is ImageFormat.TIFF:
        # A decoder allocates a whole tile, however small the picture, so the same bounds apply to tiles.
        tile_width, tile_height = tiff.read_tile_size(data)
        _check_longest(tile_width, tile_height, limits, "a tile of the image")
    if image_format in _MEMORY_READERS:
        _check_memory(_MEMORY_READERS[image_format](data), limits)
    return ImageHeader(image_format, width, height)


def _format_of(data: bytes) -> ImageFormat:
    for magic, image_format in _MAGIC.items():
        if data.startswith(magic) and (image_format is not ImageFormat.WEBP or data[8:12] == b"WEBP"):
            return image_format
    brands = heif.brands(data)
    if brands & _AVIF_BRANDS:  # before HEIC: AVIF files name the brand mif1 as well
        return ImageFormat.AVIF
    if not brands & _HEIC_BRANDS:
        raise refusal_of(data)
    if not is_installed("pillow_heif"):
        raise ImageTypeUnsupported(_WITHOUT_HEIC)
    return ImageFormat.HEIC


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if min(width, height) < limits.image_side_min:
        raise ImageSideTooShort(
            f"The image is {width} by {height} pixels, but each side must have at least "
            f"{limits.image_side_min}; send a larger image."
        )
    _check_longest(width, height, limits, "the image")


def _check_memory(decoder_bytes: int, limits: ImageLimits) -> None:
    decoder_bytes_max = _DECODER_BYTES_PER_PIXEL * limits.image_pixels_max
    if decoder_bytes > decoder_bytes_max:
        raise ImagePixelsTooMany(
            f"The image takes {decoder_bytes} bytes to decode, more than the {decoder_bytes_max} allowed; "
            "scale it down, or save a JPEG as baseline, a TIFF with fewer rows in a strip."
        )


def _check_longest(width: int, height: int, limits: ImageLimits, what: str) -> None:
    if max(width, height) > limits.image_side_max:
        raise ImageSideTooLong(
            f"{what.capitalize()} is {width} by {height} pixels, but a side may have at most "
            f"{limits.image_side_max}; scale it down."
        )
    if width * height > limits.image_pixels_max:
        raise ImagePixelsTooMany(
            f"{what.capitalize()} is {width} by {height} = {width * height} pixels, more than the "
            f"{limits.image_pixels_max} allowed; scale it down."
        )
