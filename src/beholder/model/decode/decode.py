"""From the bytes of an image to its pixels, in the worker; damaged data is refused, never guessed."""

import io
import re
import struct
import zlib

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from beholder.errors import ImageTruncated, ImageUndecodable, RequestError
from beholder.model.decode import jpeg, png, tiff, webp
from beholder.model.decode.header import ImageFormat, ImageHeader
from beholder.model.decode.pixels import lay_on_white, to_rgb

__all__ = ["decode"]

# The size was bounded when the header was read, and is compared again below before a pixel is decoded:
# Pillow's own bound would only warn or refuse below ours.
Image.MAX_IMAGE_PIXELS = None

# Whatever Pillow and simplejpeg were seen or are documented to raise for damaged data. Warning stands for a
# process in which warnings are errors.
_CODEC_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    cv2.error,
    Warning,
)
_ENDS_EARLY = re.compile(
    r"premature end|truncated|unexpected end|not enough|cannot read|read past", re.IGNORECASE
)
# Warnings of libjpeg about markers around the picture, not about the picture.
_ODD_MARKERS = re.compile(
    r"unknown JFIF revision|Unknown Adobe color transform|extraneous bytes before marker"
)
_PADDED_END = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
# Phones pad the scan with a few bytes; more are left over only when the decoder lost its way in the data.
_PADDING_BYTES_MAX = 16
_ODD_SAMPLING = re.compile("subsampling")


def decode(data: bytes, header: ImageHeader, *, shorter_side_min: int | None = None) -> NDArray[np.uint8]:
    """Return the pixels as stored, before the Exif orientation; of an animation, the first frame.

    Transparent pixels are laid on white; samples of more than 8 bits are scaled down.

    Args:
        data: The whole file.
        header: What `read_header` said of it.
        shorter_side_min: A JPEG may be decoded smaller, by a factor of eighths, as long as its shorter side
            keeps this many pixels. None decodes every pixel.

    Shape:
        returns: (height, width, 3) uint8, RGB, contiguous.

    Raises:
        ImageTruncated: The data ends early.
        ImageUndecodable: The data is damaged, of a kind that the decoders do not read, or larger than its
            header said.
    """
    try:
        if header.format is ImageFormat.JPEG:
            return _decode_jpeg(data, header, shorter_side_min or 0)
        return _decode_other(data, header)
    except RequestError as exc:
        # The header was sound when the job was accepted, so what is wrong now is the data.
        raise ImageUndecodable(exc.message) from exc
    except _CODEC_ERRORS as exc:
        if _ENDS_EARLY.search(str(exc)):
            raise ImageTruncated(_truncated(data, header)) from exc
        raise ImageUndecodable(_undecodable(header, exc)) from exc


def _truncated(data: bytes, header: ImageHeader) -> str:
    """Say that the data ends early."""
    return f"The {header.format} image's data ends early, after {len(data)} bytes; send the whole file."


def _undecodable(header: ImageHeader, exc: BaseException) -> str:
    """Say that the data is damaged, with the codec's own words."""
    return f"The {header.format} image's data cannot be decoded ({exc}); export the image again."


# --- JPEG ---------------------------------------------------------------------------------------------------


def _decode_jpeg(data: bytes, header: ImageHeader, shorter_side_min: int) -> NDArray[np.uint8]:
    """Decode by libjpeg-turbo, whose warnings count as damage unless they are known to be harmless."""
    frame = jpeg.read_frame(data)
    if jpeg.misses_scans(data, frame):
        raise ImageTruncated(_truncated(data, header))
    try:
        image = _strictly(data, shorter_side_min)
    except ValueError as exc:
        if not jpeg.is_complete(data):
            raise ImageTruncated(_truncated(data, header)) from exc
        image = _second_try(data, header, shorter_side_min, exc)
    height, width = image.shape[:2]
    if not shorter_side_min and (width, height) != (header.width, header.height):
        raise ImageUndecodable(_other_size(header, width, height))
    return image


def _strictly(data: bytes, shorter_side_min: int, *, strict: bool = True) -> NDArray[np.uint8]:
    """Decode to RGB; with `strict`, any warning of libjpeg is a ValueError."""
    image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, "RGB", min_height=shorter_side_min, min_width=shorter_side_min, min_factor=1, strict=strict
    )
    return image


def _second_try(
    data: bytes, header: ImageHeader, shorter_side_min: int, exc: ValueError
) -> NDArray[np.uint8]:
    """Decode a complete file that libjpeg found fault with, if the fault does not touch the picture."""
    complaint = str(exc)
    if _ODD_SAMPLING.search(complaint):
        return _by_pillow(jpeg.essential(data), header)
    if _is_padded_end(complaint):
        return _strictly(data, shorter_side_min, strict=False)
    if not _ODD_MARKERS.search(complaint):
        raise exc
    data = jpeg.essential(data)
    try:
        return _strictly(data, shorter_side_min)
    except ValueError as again:
        if not _is_padded_end(str(again)):
            raise
        return _strictly(data, shorter_side_min, strict=False)


def _is_padded_end(complaint: str) -> bool:
    """Say whether all that libjpeg found is a little padding before the end marker."""
    # libjpeg reports its first warning only, and this one comes last: the whole picture was decoded.
    padding = _PADDED_END.search(complaint)
    return padding is not None and int(padding[1]) <= _PADDING_BYTES_MAX


# --- the others ---------------------------------------------------------------------------------------------


def _decode_other(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode what Pillow decodes, after the file was stripped to what the pixels need."""
    match header.format:
        case ImageFormat.PNG:
            data = png.essential(data)
            if not png.has_all_rows(data):
                raise ImageTruncated(_truncated(data, header))
            return _by_pillow(data, header, key_bits=png.bit_depth(data))
        case ImageFormat.WEBP:
            if not webp.is_complete(data):
                raise ImageTruncated(_truncated(data, header))
            # For a still OpenCV takes a third of the memory and half the time that Pillow does.
            return _by_pillow(data, header) if webp.is_animated(data) else _still_webp(data, header)
        case ImageFormat.TIFF:
            if not tiff.has_all_data(data):
                raise ImageTruncated(_truncated(data, header))
            image = _by_pillow(tiff.essential(data), header)
            # Pillow inverts white-is-zero up to 8 bits and forgets it at 16.
            return 255 - image if tiff.is_inverted_16_bit(data) else image
        case _:
            return _by_pillow(data, header)


def _still_webp(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode a WebP image that is no animation."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("damaged WebP data")
    height, width, channels = image.shape
    if (width, height) != (header.width, header.height):
        raise ImageUndecodable(_other_size(header, width, height))
    if channels == 3:  # noqa: PLR2004 - blue, green and red
        rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        return rgb
    pixels = np.empty((height, width, 3), np.uint8)
    lay_on_white(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA, dst=image), pixels)
    return pixels


def _by_pillow(data: bytes, header: ImageHeader, *, key_bits: int = 8) -> NDArray[np.uint8]:
    """Decode the first frame by Pillow, if it is as large as the header said."""
    with Image.open(io.BytesIO(data), formats=(header.format.upper(),)) as image:
        if image.size != (header.width, header.height):
            raise ImageUndecodable(_other_size(header, *image.size))
        image.load()
        if image.size != (header.width, header.height):
            raise ImageUndecodable(_other_size(header, *image.size))
        return to_rgb(image, key_bits=key_bits)


def _other_size(header: ImageHeader, width: int, height: int) -> str:
    """Say that the decoder found another size than the header."""
    return (
        f"The {header.format} image says that it is {header.width} by {header.height} pixels, "
        f"but its data is {width} by {height}; export it again."
    )
