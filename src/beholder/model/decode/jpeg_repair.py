"""Writes a JPEG file anew without what is merely odd, so that libjpeg's warnings concern the picture.

libjpeg reports its first warning only, and a harmless warning would hide the others.

Source: ITU-T T.81 (09/1992), annex B; ITU-T T.871 (05/2011) for JFIF; Adobe Technical Note 5116 for APP14.
"""

import re
import struct
from collections.abc import Callable

from beholder.model.decode.jpeg import FRAME_MARKERS, FrameHeader, walk

__all__ = ["essential", "intervals", "with_filler", "without_padding"]

_EOI, _SOS, _DRI, _APP0, _APP14 = 0xD9, 0xDA, 0xDD, 0xE0, 0xEE
_TABLE_MARKERS = frozenset((0xDB, 0xC4, _DRI))  # DQT, DHT
_END = b"\xff\xd9"
_CLEAN_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_JFIF_BYTES_MIN, _ADOBE_BYTES_MIN, _ADOBE_TRANSFORM_AT, _ADOBE_TRANSFORM_MAX = 14, 12, 11, 2
_YCC, _YCCK = 1, 2
_CMYK_COMPONENTS = 4
_WHOLE_SPECTRUM = b"\0\x3f\0"  # coefficients 0 to 63, at once
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
# A zero after FF belongs to it: it marks the FF as data.
_ZEROS_AT_END = re.compile(rb"(?<!\xff)\0+(?=\xff+[\xd0-\xd7]|\Z)")
_SEGMENT_END = re.compile(rb"(?=\xff[\xd0-\xd7])")
_FILLER = b"\xaa\x55" * 32
_SIDE_MAX = 65_500  # libjpeg's own bound
_INTERVALS_MAX = 20_000  # each costs a decoder's start
_PADDINGS_MAX = 100_000  # each costs a few dozen bytes of memory


def essential(data: bytes, frame: FrameHeader) -> bytes:
    """Return the file with only what the pixels need.

    The tables, the frame and the scans stay. JFIF and Adobe segments, which name the colours, are written as
    libjpeg understands them; sequential scans declare every coefficient; an end marker is added. Bytes
    between segments are left out.
    """
    parts = [b"\xff\xd8"]
    for marker, start, end in walk(data):
        if marker in _TABLE_MARKERS or marker in FRAME_MARKERS:
            parts.append(data[start:end])
        elif marker == _SOS:
            parts.append(_clean_scan(data[start:end], frame))
        elif marker == _APP0 and data.startswith(b"JFIF\0", start + 4) and end - start - 4 >= _JFIF_BYTES_MIN:
            parts.append(_CLEAN_JFIF)
        elif marker == _APP14 and data.startswith(b"Adobe", start + 4):
            parts.append(_clean_adobe(data[start:end], frame))
    return b"".join(parts) + _END


def _clean_scan(scan: bytes, frame: FrameHeader) -> bytes:
    """Return a scan; in a sequential file, with the only parameters that make sense there."""
    at = 5 + 2 * scan[4] if len(scan) > 4 else 0  # noqa: PLR2004 - marker and length
    if frame.is_progressive or not at or at + 3 > len(scan):
        return scan
    return scan[:at] + _WHOLE_SPECTRUM + scan[at + 3 :]


def _clean_adobe(segment: bytes, frame: FrameHeader) -> bytes:
    """Return an Adobe segment with a known colour transform: libjpeg's default instead of an unknown."""
    at = 4 + _ADOBE_TRANSFORM_AT
    if len(segment) < 4 + _ADOBE_BYTES_MIN:
        return b""
    if segment[at] <= _ADOBE_TRANSFORM_MAX:
        return segment
    transform = _YCCK if len(frame.components) == _CMYK_COMPONENTS else _YCC
    return segment[:at] + bytes([transform]) + segment[at + 1 :]


def without_padding(data: bytes, *, kept: int) -> bytes:
    """Return a file from `essential` without the zeros before markers within or after a scan.

    Args:
        data: The file.
        kept: How many zeros stay before each marker.
    """

    def shortened(zeros: re.Match[bytes]) -> bytes:
        return zeros[0][:kept]

    return _with_scans(data, lambda coded: _ZEROS_AT_END.sub(shortened, coded, count=_PADDINGS_MAX))


def with_filler(data: bytes) -> bytes:
    """Return a file from `essential` with bytes added where coded data ends.

    They change the picture if, and only if, the data ends before the picture does.
    """
    return _with_scans(data, lambda coded: _SEGMENT_END.sub(_FILLER, coded, count=_PADDINGS_MAX) + _FILLER)


def _with_scans(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    parts = [data[:2]]
    for marker, start, end in walk(data):
        coded = _coded_start(data, start) if marker == _SOS else end
        parts += [data[start:coded], change(data[coded:end]) if marker == _SOS else b""]
    return b"".join(parts)


def _coded_start(data: bytes, scan: int) -> int:
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")


def intervals(data: bytes, frame: FrameHeader) -> list[bytes]:
    """Return each restart interval of a file from `essential` as a JPEG file of its own.

    The list is empty if the file has not exactly one sequential scan, or a restart marker is missing or out
    of turn.
    """
    parts = list(walk(data))
    scans = [(start, end) for marker, start, end in parts if marker == _SOS]
    steps = [
        int.from_bytes(data[start + 4 : start + 6], "big") for marker, start, _ in parts if marker == _DRI
    ]
    if frame.is_progressive or len(scans) != 1 or not steps or not steps[-1]:
        return []
    start, end = scans[0]
    coded = _coded_start(data, start)
    sizes = _interval_sizes(frame, steps[-1])
    pieces = _RESTART.split(data[coded:end], maxsplit=len(sizes) or 1)
    turns = [0xD0 + at % 8 for at in range(len(sizes) - 1)]
    if not sizes or [number[0] for number in pieces[1::2]] != turns:
        return []
    heads = {size: _head(data, parts, size) + data[start:coded] for size in set(sizes)}
    return [heads[size] + piece + _END for size, piece in zip(sizes, pieces[::2], strict=True)]


def _interval_sizes(frame: FrameHeader, step: int) -> list[tuple[int, int]]:
    """Return width and height in pixels of an image that one interval fills, for each interval.

    The list is empty if there are too many, or if an interval is too wide for an image.
    """
    across, down = frame.sampling_max
    # A scan of one component is coded block by block, whatever its sampling.
    mcu_width, mcu_height = (8, 8) if len(frame.sampling) == 1 else (8 * across, 8 * down)
    columns, rows = -(-frame.width // mcu_width), -(-frame.height // mcu_height)
    total = columns * rows
    if total > step * _INTERVALS_MAX:
        return []
    counts = [min(step, total - done) for done in range(0, total, step)]
    width = columns if step % columns == 0 else min(step, total)
    if width * mcu_width > _SIDE_MAX:
        return []
    return [(min(width, count) * mcu_width, -(-count // width) * mcu_height) for count in counts]


def _head(data: bytes, parts: list[tuple[int, int, int]], size: tuple[int, int]) -> bytes:
    """Return what precedes the scan, for an image of another size without restart markers."""
    head = data[:2]
    for marker, start, end in parts:
        if marker == _SOS:
            break
        if marker in FRAME_MARKERS:
            sides = struct.pack(">HH", size[1], size[0])
            head += data[start : start + 5] + sides + data[start + 9 : end]
        elif marker != _DRI:
            head += data[start:end]
    return head
