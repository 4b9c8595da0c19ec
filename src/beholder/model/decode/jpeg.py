"""The markers of a JPEG file, read without decoding.

Source: ITU-T T.81 (09/1992), annex B: syntax of markers, frame (SOF) and scan (SOS) headers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from beholder.errors import ImageHeaderInvalid, ImageTypeUnsupported

__all__ = [
    "FRAME_MARKERS",
    "FrameHeader",
    "is_complete",
    "misses_scans",
    "read_decoder_bytes",
    "read_frame",
    "read_size",
    "segments",
    "walk",
]

_EOI, _SOS, _DAC, _DHT, _JPG, _TEM = 0xD9, 0xDA, 0xCC, 0xC4, 0xC8, 0x01
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC}
_SEQUENTIAL_HUFFMAN = frozenset((0xC0, 0xC1))
_PROGRESSIVE_HUFFMAN = 0xC2
_BARE_MARKERS = frozenset((_TEM, *range(0xD0, 0xD9)))  # no length follows: TEM, RST0 to RST7, SOI
# An ICC profile takes up to 255 segments, a panorama's XMP a few hundred. Each segment costs a microsecond,
# so a file with more is an attack.
_SEGMENTS_MAX = 2_000
_MARKERS_MAX = 10_000  # of the whole file: segments, and tables between scans
_FILL_BYTES_MAX = 4_096  # between two segments; writers put a few there
# libjpeg-turbo's fuzzers stop at 500; encoders write about 10. Each scan visits every block of the image.
_SCANS_MAX = 100
_SCANNED_PIXELS_MAX = 2_000_000_000  # of all scans together: 31 of the largest image
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_COEFFICIENTS, _COEFFICIENT_BYTES = 64, 2
_SAMPLING_MAX = 4
_SCAN_HEADER_BYTES_MAX = 12  # count, two bytes for each of four components, and three parameters


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The content of a frame header.

    Args:
        width: Columns in pixels.
        height: Rows in pixels.
        components: The components' ids: one if grey, three if coloured, four if CMYK.
        sampling: The sampling factors of each component, across and down.
        is_progressive: The picture is in several scans that refine each other.
    """

    width: int
    height: int
    components: tuple[int, ...]
    sampling: tuple[tuple[int, int], ...]
    is_progressive: bool

    @property
    def sampling_max(self) -> tuple[int, int]:
        """The largest sampling factors, across and down."""
        return max(across for across, _ in self.sampling), max(down for _, down in self.sampling)


def read_size(data: bytes) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        ImageHeaderInvalid: There is no complete frame header.
        ImageTypeUnsupported: No decoder here reads this kind of JPEG.
    """
    frame = read_frame(data)
    return frame.width, frame.height


def read_frame(data: bytes) -> FrameHeader:
    """Return the first frame header.

    Raises:
        ImageHeaderInvalid: There is no complete frame header.
        ImageTypeUnsupported: No decoder here reads this kind of JPEG.
    """
    for marker, start, end in segments(data):
        if marker in FRAME_MARKERS:
            return _parse_frame(marker, data[start:end])
        if marker == _SOS:
            break
    raise ImageHeaderInvalid(
        "The JPEG has no frame header before its data; the file is damaged, export it again."
    )


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment's content, up to and with the first SOS.

    Bytes between segments are skipped, as libjpeg does. The walk ends where the data ends, without an error.
    """
    position = 2
    for _ in range(_SEGMENTS_MAX):
        found = _NEXT_MARKER.search(data, position, position + _FILL_BYTES_MAX)
        if found is None or found.end() + 2 > len(data):
            return
        marker, start = data[found.end() - 1], found.end()
        if marker in _BARE_MARKERS:
            position = start
            continue
        end = start + (data[start] << 8 | data[start + 1])
        if marker == _EOI or end < start + 2 or end > len(data):
            return
        yield marker, start + 2, end
        if marker == _SOS:
            return
        position = end


def _parse_frame(marker: int, content: bytes) -> FrameHeader:
    if marker not in _SEQUENTIAL_HUFFMAN and marker != _PROGRESSIVE_HUFFMAN:
        raise ImageTypeUnsupported(
            "This JPEG is lossless, hierarchical or arithmetic-coded; save it as a baseline JPEG."
        )
    if len(content) < 6 or len(content) != 6 + 3 * content[5]:  # noqa: PLR2004 - precision, sides, count; 3 a component
        raise ImageHeaderInvalid(
            "The JPEG's frame header has a wrong length; the file is damaged, export it again."
        )
    precision, count = content[0], content[5]
    height, width = content[1] << 8 | content[2], content[3] << 8 | content[4]
    if precision != 8:  # noqa: PLR2004 - bits
        raise ImageTypeUnsupported(f"This JPEG has {precision} bits a sample; save it with 8.")
    if count not in (1, 3, 4):
        raise ImageTypeUnsupported(f"This JPEG has {count} components; save it in grey, colour or CMYK.")
    if not width or not height:
        raise ImageHeaderInvalid(f"The JPEG says that it is {width} by {height} pixels; export it again.")
    sampling = tuple((factors >> 4, factors & 15) for factors in content[7::3])
    if not all(1 <= factor <= _SAMPLING_MAX for factors in sampling for factor in factors):
        raise ImageHeaderInvalid("The JPEG's components are sampled in no possible way; export it again.")
    return FrameHeader(width, height, tuple(content[6::3]), sampling, marker == _PROGRESSIVE_HUFFMAN)


def read_decoder_bytes(data: bytes) -> int:
    """Return how much memory decoding takes: the picture, and the coefficients if it has several scans.

    Raises:
        ImageHeaderInvalid: There is no complete frame header.
        ImageTypeUnsupported: No decoder here reads this kind of JPEG.
    """
    frame = read_frame(data)
    pixels = frame.width * frame.height
    picture = pixels * max(3, len(frame.components))
    if not frame.is_progressive and _first_scan_has_all(data, frame):
        return picture
    across, down = frame.sampling_max
    samples = sum(width * height for width, height in frame.sampling)
    return picture + pixels * samples * _COEFFICIENT_BYTES // (across * down)


def walk(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of every segment of the whole file; EOI, if there is one, comes last.

    `start` is where the marker begins. After SOS, `end` is where the entropy-coded data ends.
    """
    position = 2
    for _ in range(_MARKERS_MAX):
        found = _NEXT_MARKER.search(data, position)
        if found is None:
            return
        marker, at = data[found.end() - 1], found.end()
        if marker == _EOI:
            yield marker, found.start(), at
            return
        end = at if marker in _BARE_MARKERS else at + int.from_bytes(data[at : at + 2], "big")
        if marker == _SOS:
            behind = _NEXT_MARKER.search(data, end)
            end = behind.start() if behind else len(data)
        if end > len(data) or (marker not in _BARE_MARKERS and end < at + 2):
            return
        yield marker, found.start(), end
        position = end


def is_complete(data: bytes) -> bool:
    """Say whether the file has its end-of-image marker."""
    return any(marker == _EOI for marker, _, _ in walk(data))


def misses_scans(data: bytes, frame: FrameHeader) -> bool:
    """Say whether scans that would complete the picture are missing, or so many that they are an attack.

    A decoder silently fills missing data with grey or a blur, so the scans are counted here.
    """
    if not frame.is_progressive and _first_scan_has_all(data, frame):
        return False
    # The position of the lowest bit still missing, for each coefficient of each component.
    missing = {component: [None] * _COEFFICIENTS for component in frame.components}  # type: dict[int, list[int | None]]
    scans, scans_max = 0, min(_SCANS_MAX, _SCANNED_PIXELS_MAX // (frame.width * frame.height))
    for marker, start, _ in walk(data):
        if marker != _SOS:
            continue
        scans += 1
        content = data[start + 4 : start + 4 + _SCAN_HEADER_BYTES_MAX]
        if scans > scans_max or not _mark_scan(content, missing, is_progressive=frame.is_progressive):
            return True
    return any(bit != 0 for bits in missing.values() for bit in bits)


def _first_scan_has_all(data: bytes, frame: FrameHeader) -> bool:
    """Say whether the first scan has every component, as in nearly every sequential file."""
    return any(m == _SOS and data[start] == len(frame.components) for m, start, _ in segments(data))


def _mark_scan(content: bytes, missing: dict[int, list[int | None]], *, is_progressive: bool) -> bool:
    """Remove from `missing` what a scan has; return False if its header makes no sense."""
    count = content[0] if content else 0
    if len(content) < 4 + 2 * count:
        return False
    first, last, bits = content[1 + 2 * count : 4 + 2 * count]
    if not is_progressive:
        first, last, bits = 0, _COEFFICIENTS - 1, 0
    if last >= _COEFFICIENTS:
        return False
    for component in content[1 : 1 + 2 * count : 2]:
        if component not in missing:
            return False
        missing[component][first : last + 1] = [bits & 0x0F] * (last + 1 - first)
    return True
