"""Decodes an image's bytes to pixels, in the worker; damaged data is refused, not guessed."""

import io
import re
import struct
import zlib

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image

from beholder.errors import ImageTruncated, ImageUndecodable, RequestError
from beholder.model.decode import bmp, heif, heif_still, jpeg, jpeg_repair, png, tiff, webp
from beholder.model.decode.header import ImageFormat, ImageHeader
from beholder.model.decode.pixels import bands, lay_on_white, to_rgb
from beholder.model.decode.quiet import quieten
from beholder.model.extras import import_extra

__all__ = ["decode"]

# The size was bounded when the header was read, and is compared again below before a pixel is decoded:
# Pillow's own bound would only warn or refuse below ours.
Image.MAX_IMAGE_PIXELS = None
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each more holds a frame more
quieten()

# The errors that Pillow and simplejpeg raise for damaged data, as documented or observed. Warning is for a
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
_PADDED = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker")
_PADDED_END = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
# Phones pad the scan with a few bytes; more remain only if the decoder lost its place in the data.
_PADDING_BYTES_MAX = 16
_ODD_SAMPLING = re.compile("subsampling")


def decode(data: bytes, header: ImageHeader, *, shorter_side_min: int | None = None) -> NDArray[np.uint8]:
    """Return the pixels as stored, before the Exif orientation; of an animation, the first frame.

    Transparent pixels are laid on white; samples of more than 8 bits are scaled down.

    Args:
        data: The whole file.
        header: What `read_header` returned.
        shorter_side_min: A JPEG may be decoded smaller, by a factor of eighths, as long as its shorter side
            keeps this many pixels. None decodes every pixel.

    Shape:
        returns: (height, width, 3) uint8, RGB, contiguous.

    Raises:
        ImageTruncated: The data ends early.
        ImageUndecodable: The data is damaged, of a kind that no decoder here reads, or larger than its
            header says.
    """
    try:
        if header.format is ImageFormat.JPEG:
            return _decode_jpeg(data, header, shorter_side_min or 0)
        return _decode_other(data, header)
    except RequestError as exc:
        # The header was sound when the job was accepted, so the data is wrong.
        raise ImageUndecodable(exc.message) from exc
    except _CODEC_ERRORS as exc:
        if _ENDS_EARLY.search(str(exc)):
            raise ImageTruncated(_truncated(data, header)) from exc
        raise ImageUndecodable(_undecodable(header, exc)) from exc


def _truncated(data: bytes, header: ImageHeader) -> str:
    return f"The {header.format} image's data ends early, after {len(data)} bytes; send the whole file."


def _undecodable(header: ImageHeader, exc: BaseException) -> str:
    return f"The {header.format} image's data cannot be decoded ({exc}); export the image again."


# --- JPEG ---------------------------------------------------------------------------------------------------


def _decode_jpeg(data: bytes, header: ImageHeader, shorter_side_min: int) -> NDArray[np.uint8]:
    """Decode by libjpeg-turbo; its warnings count as damage if they concern the picture."""
    frame = jpeg.read_frame(data)
    if jpeg.misses_scans(data, frame):
        raise ImageTruncated(_truncated(data, header))
    try:
        image = _strictly(data, shorter_side_min)
    except ValueError:
        image = _second_try(data, header, frame, shorter_side_min)
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
    data: bytes, header: ImageHeader, frame: jpeg.FrameHeader, shorter_side_min: int
) -> NDArray[np.uint8]:
    """Decode a file that libjpeg warns of, if the warning does not concern the picture."""
    plain = jpeg_repair.essential(data, frame)
    try:
        return _strictly(plain, shorter_side_min)
    except ValueError as exc:
        complaint = str(exc)
        if _ODD_SAMPLING.search(complaint):
            return _oddly_sampled(plain, data, header)
        if _is_padded_end(complaint) or (
            _PADDED.search(complaint) and _is_only_padded(plain, frame, complaint)
        ):
            return _strictly(plain, shorter_side_min, strict=False)
        if not jpeg.is_complete(data):
            raise ImageTruncated(_truncated(data, header)) from exc
        raise


def _is_padded_end(complaint: str) -> bool:
    """Say whether libjpeg found nothing but a little padding before the end marker."""
    # libjpeg reports its first warning only. This warning comes last, so the whole picture was decoded.
    padding = _PADDED_END.search(complaint)
    return padding is not None and int(padding[1]) <= _PADDING_BYTES_MAX


def _is_only_padded(plain: bytes, frame: jpeg.FrameHeader, complaint: str) -> bool:
    """Say whether every part of the picture is there in spite of extra bytes before markers.

    libjpeg reports only the first of them, so zeros are removed, or each restart interval is decoded on its
    own, so that a warning of its end comes last.
    """
    if _is_sound(plain):
        return True
    # Zeros at the end of the file only are likely to stand for lost data.
    zeros_kept = 0 if _PADDED_END.search(complaint) else 1
    found = jpeg_repair.intervals(plain, frame)
    return bool(found) and all(_is_sound(interval, zeros_kept=zeros_kept) for interval in found)


def _is_sound(plain: bytes, *, zeros_kept: int = 0) -> bool:
    """Say whether libjpeg finds nothing but padding at the end, or zeros before a marker.

    Args:
        plain: A file from `jpeg_repair.essential`, or an interval of it.
        zeros_kept: How many of the zeros may belong to the data before them; in one interval of some
            hundreds, the last byte does.
    """
    for data in (
        plain,
        *(jpeg_repair.without_padding(plain, kept=kept) for kept in range(zeros_kept + 1)),
    ):
        try:
            _strictly(data, 1)
        except ValueError as exc:
            if _is_padded_end(str(exc)):
                return True
        else:
            return True
    return False


def _oddly_sampled(plain: bytes, data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode by Pillow, which does not report missing data: bytes added at the end must not change pixels."""
    seen = zlib.crc32(_by_pillow(jpeg_repair.with_filler(plain), header).data)
    image = _by_pillow(plain, header)
    if zlib.crc32(image.data) != seen:
        raise ImageTruncated(_truncated(data, header))
    return image


# --- the others ---------------------------------------------------------------------------------------------


def _decode_other(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode by Pillow or OpenCV, after the file was stripped to what the pixels need."""
    match header.format:
        case ImageFormat.PNG:
            return _by_pillow(png.essential(data), header, key_bits=png.bit_depth(data))
        case ImageFormat.WEBP:
            return _decode_webp(webp.read_still(data), header)
        case ImageFormat.TIFF:
            if not tiff.has_all_data(data):
                raise ImageTruncated(_truncated(data, header))
            image = _by_pillow(tiff.essential(data), header)
            # Pillow inverts white-is-zero up to 8 bits and forgets it at 16.
            return 255 - image if tiff.is_inverted_16_bit(data) else image
        case ImageFormat.BMP:
            return _by_pillow(bmp.essential(data), header)
        case ImageFormat.AVIF | ImageFormat.HEIC:
            still = heif_still.essential(heif.read_picture(data))
            return (_by_pillow if header.format is ImageFormat.AVIF else _decode_heic)(still, header)
        case _:
            return _by_pillow(data, header)


def _decode_webp(still: webp.Still, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode by OpenCV, which takes a third of the memory and half the time that Pillow does."""
    if still.canvas != (header.width, header.height):
        raise ImageUndecodable(_other_size(header, *still.canvas))
    image: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(still.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("damaged WebP data")
    height, width, channels = image.shape
    if (width, height) != (still.width, still.height):
        raise ImageUndecodable(_other_size(header, width, height))
    is_opaque = channels == 3  # noqa: PLR2004 - blue, green and red
    if is_opaque and (width, height) == (header.width, header.height):
        pixels = place = image
    else:
        pixels = np.full(
            (header.height, header.width, 3), 255, np.uint8
        )  # what the frame does not cover stays white
        place = pixels[still.top : still.top + height, still.left : still.left + width]
    for rows in bands(height, width):  # OpenCV would copy the whole to convert it in place
        if is_opaque:
            place[rows] = cv2.cvtColor(image[rows], cv2.COLOR_BGR2RGB)
        else:
            lay_on_white(cv2.cvtColor(image[rows], cv2.COLOR_BGRA2RGBA), place[rows])
    return pixels


def _decode_heic(still: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode by libheif, which an extra installs."""
    pillow_heif = import_extra("pillow_heif", "heic")
    pillow_heif.options.DECODE_THREADS = 1  # a worker decodes as many images at once as it has cores
    image = pillow_heif.open_heif(still, convert_hdr_to_8bit=True)
    pixels: NDArray[np.uint8] = np.asarray(image)
    if image.size != (header.width, header.height):
        raise ImageUndecodable(_other_size(header, *image.size))
    if image.mode == "RGB":
        return pixels
    return to_rgb(Image.fromarray(pixels))


def _by_pillow(data: bytes, header: ImageHeader, *, key_bits: int = 8) -> NDArray[np.uint8]:
    """Decode the first frame by Pillow, if its size is the header's."""
    with Image.open(io.BytesIO(data), formats=(header.format.upper(),)) as image:
        if image.size != (header.width, header.height):
            raise ImageUndecodable(_other_size(header, *image.size))
        image.load()
        if image.size != (header.width, header.height):
            raise ImageUndecodable(_other_size(header, *image.size))
        return to_rgb(image, key_bits=key_bits)


def _other_size(header: ImageHeader, width: int, height: int) -> str:
    return (
        f"The {header.format} image says that it is {header.width} by {header.height} pixels, "
        f"but its data is {width} by {height}; export it again."
    )
