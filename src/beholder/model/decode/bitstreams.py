"""How large the pictures in the coded data of an AVIF or HEIC file are, read without decoding.

A decoder allocates what the coded data says, whatever the container around it says.

Source: AOMedia, AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1), sections 5.3,
5.5 and 5.9.2; ITU-T H.265 (V10, 07/2024), sections 7.3.1 and 7.3.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from beholder.errors import ImageHeaderInvalid, ImageTypeUnsupported

__all__ = ["CodedSize", "av1_sizes", "hevc_sizes"]

_UNITS_MAX = 10_000  # of the coded data: headers, and parts of the picture
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6  # kinds of AV1's units
_SWITCH_FRAME, _KEY_FRAME = 3, 0
_SPS, _SLICES_END = 33, 32  # kinds of HEVC's units
_HEAD_BYTES = 256  # of a unit: more than what is read of it
_LEB128_BYTES_MAX = 8
_GOLOMB_BITS_MAX = 32
_CHOSEN_BY_FRAME = 2
_SUBSAMPLED = 1.5  # samples of a pixel whose colours are halved in both directions
_SAMPLES = (1.0, _SUBSAMPLED, 2.0, 3.0)  # of a pixel, by HEVC's chroma format
_DAMAGED = "The image's coded data makes no sense; the file is damaged, export it again."


@dataclass(frozen=True, slots=True)
class CodedSize:
    """What a decoder allocates for a picture.

    Args:
        width: Columns, in pixels.
        height: Rows, in pixels.
        pixel_bytes: Bytes of a decoded pixel, before it is converted to red, green and blue.
    """

    width: int
    height: int
    pixel_bytes: float


class _Bits:
    """Reads numbers of so many bits, the first bit first; after the end come zeros.

    Args:
        data: What is read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = int.from_bytes(data[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0"))
        self._left = 8 * _HEAD_BYTES

    def read(self, bits: int = 1) -> int:
        """Return the next bits as a number."""
        self._left -= bits
        if self._left < 0:
            raise ImageHeaderInvalid(_DAMAGED)
        return self._data >> self._left & ((1 << bits) - 1)

    def golomb(self) -> int:
        """Return the next number in the Exp-Golomb code."""
        zeros = 0
        while not self.read():
            zeros += 1
            if zeros > _GOLOMB_BITS_MAX:
                raise ImageHeaderInvalid(_DAMAGED)
        return (1 << zeros) - 1 + self.read(zeros)


# --- AV1 ----------------------------------------------------------------------------------------------------


class _Sequence:
    """What a sequence header says of the frames after it.

    Args:
        bits: The header.
    """

    def __init__(self, bits: _Bits) -> None:
        profile, _ = bits.read(3), bits.read()  # the profile, and whether this is a still picture
        self.is_reduced = bool(bits.read())
        if self.is_reduced:
            bits.read(5)  # the level
        else:
            self._read_operating_points(bits)
        width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
        width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
        self.id_bits = 0
        self.screen_content = self.integer_motion = _CHOSEN_BY_FRAME
        frame_tools = 3
        if not self.is_reduced:
            self._read_tools(bits)
            frame_tools = 0
        bits.read(frame_tools + 3)
        samples = _SAMPLES[-1] if profile else _SUBSAMPLED
        self.size = CodedSize(width, height, samples * (1 + bits.read()))

    @staticmethod
    def _read_operating_points(bits: _Bits) -> None:
        if bits.read():
            raise ImageTypeUnsupported("This AVIF is timed like a video; save it as a still picture.")
        has_delays = bits.read()
        for _ in range(bits.read(5) + 1):
            bits.read(12)
            if bits.read(5) > 7:  # noqa: PLR2004 - the higher levels have two tiers
                bits.read()
            if has_delays and bits.read():
                bits.read(4)

    def _read_tools(self, bits: _Bits) -> None:
        if bits.read():
            self.id_bits = bits.read(4) + bits.read(3) + 3
        bits.read(7)  # seven tools, each allowed or not
        has_order = bits.read()
        if has_order:
            bits.read(2)
        if not bits.read():
            self.screen_content = bits.read()
        if self.screen_content and not bits.read():
            self.integer_motion = bits.read()
        if has_order:
            bits.read(3)

    def check_frame(self, bits: _Bits) -> None:
        """Refuse a frame that has another size than the sequence header says."""
        if self.is_reduced:
            return
        shows_other = bits.read()
        kind, is_shown = bits.read(2), bits.read()
        if not is_shown:
            bits.read()
        if kind != _SWITCH_FRAME and not (kind == _KEY_FRAME and is_shown):
            bits.read()
        bits.read()
        screen_content = bits.read() if self.screen_content == _CHOSEN_BY_FRAME else self.screen_content
        if screen_content and self.integer_motion == _CHOSEN_BY_FRAME:
            bits.read()
        bits.read(self.id_bits)
        if shows_other or kind == _SWITCH_FRAME or bits.read():
            raise ImageTypeUnsupported(
                "This AVIF has frames of several sizes; save it as a plain still picture."
            )


def av1_sizes(coded: bytes) -> list[CodedSize]:
    """Return the size of each frame in the coded data of one AV1 picture, in the order of decoding.

    Raises:
        ImageHeaderInvalid: The data is no AV1 picture.
        ImageTypeUnsupported: A frame's size is not that of its sequence header.
    """
    sequence: _Sequence | None = None
    sizes = []
    for kind, unit in _av1_units(coded):
        if kind == _SEQUENCE:
            sequence = _Sequence(_Bits(unit))
        elif kind in (_FRAME_HEADER, _FRAME):
            if sequence is None:
                raise ImageHeaderInvalid(_DAMAGED)
            sequence.check_frame(_Bits(unit))
            sizes.append(sequence.size)
    return sizes


def _av1_units(coded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and head of each unit."""
    at = 0
    for _ in range(_UNITS_MAX):
        if at >= len(coded):
            return
        head = coded[at]
        at += 2 if head & 4 else 1  # an extension says which layer it is
        size = len(coded) - at
        if head & 2:
            size, at = _leb128(coded, at)
        if at + size > len(coded):
            break
        yield head >> 3 & 15, coded[at : at + min(size, _HEAD_BYTES)]
        at += size
    raise ImageHeaderInvalid(_DAMAGED)


def _leb128(coded: bytes, at: int) -> tuple[int, int]:
    """Return a number in seven bits of each byte, and where it ends."""
    number = 0
    for place, byte in enumerate(coded[at : at + _LEB128_BYTES_MAX]):
        number |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return number, at + place + 1
    raise ImageHeaderInvalid(_DAMAGED)


# --- HEVC ---------------------------------------------------------------------------------------------------


def hevc_sizes(configuration: bytes, coded: bytes) -> tuple[list[CodedSize], int]:
    """Return the size of each parameter set that a decoder may use, and how many pictures are coded.

    Args:
        configuration: The content of the box hvcC.
        coded: The coded data of one item.

    Raises:
        ImageHeaderInvalid: The data is no HEVC picture.
    """
    sizes, pictures = [], 0
    length_bytes = (configuration[21] & 3) + 1 if len(configuration) > 22 else 0  # noqa: PLR2004 - hvcC's least length
    if not length_bytes:
        raise ImageHeaderInvalid(_DAMAGED)
    units = (*_parameter_sets(configuration), *_hevc_units(coded, length_bytes))
    for unit in units:
        kind = unit[0] >> 1 & 63 if unit else _SLICES_END
        if kind == _SPS:
            sizes.append(_sps_size(unit))
        elif kind < _SLICES_END and len(unit) > 2:  # noqa: PLR2004 - the unit's header
            pictures += unit[2] >> 7  # the first part of a picture
    return sizes, pictures


def _parameter_sets(configuration: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[at + 1 : at + 3])
        at += 3
        for _ in range(count):
            if at + 2 > len(configuration):
                raise ImageHeaderInvalid(_DAMAGED)
            end = at + 2 + int.from_bytes(configuration[at : at + 2])
            yield configuration[at + 2 : min(end, at + 2 + _HEAD_BYTES)]
            at = end


def _hevc_units(coded: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the head of each unit."""
    at = 0
    for _ in range(_UNITS_MAX):
        if at >= len(coded):
            return
        start = at + length_bytes
        at = start + int.from_bytes(coded[at:start])
        if at > len(coded):
            break
        yield coded[start : min(at, start + _HEAD_BYTES)]
    raise ImageHeaderInvalid(_DAMAGED)


def _sps_size(unit: bytes) -> CodedSize:
    """Return the size before the conformance window cuts it."""
    # Decoders leave out the byte that keeps data from looking like the start of a unit.
    bits = _Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    sub_layers = bits.read(3)
    bits.read(1 + 88 + 8)  # general profile and level
    present = [(bits.read(), bits.read()) for _ in range(sub_layers)]
    if sub_layers:
        bits.read(2 * (8 - sub_layers))
    for has_profile, has_level in present:
        bits.read(88 * has_profile + 8 * has_level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma >= len(_SAMPLES):
        raise ImageHeaderInvalid(_DAMAGED)
    if chroma == 3:  # noqa: PLR2004 - 4:4:4, whose planes may be separate
        bits.read()
    width, height = bits.golomb(), bits.golomb()
    if bits.read():
        _ = [bits.golomb() for _ in range(4)]
    return CodedSize(width, height, _SAMPLES[chroma] * (2 if bits.golomb() or bits.golomb() else 1))
