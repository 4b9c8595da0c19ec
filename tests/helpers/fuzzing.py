"""Mutates images by bytes and by structure, and decodes them in a process of bounded memory.

`python tests/helpers/fuzzing.py SEED ROUNDS FOLDER` prints what came of it; an input that fails is kept in
FOLDER.
"""

import functools
import json
import random
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from beholder.errors import JobError, RequestError
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.orientation import read_orientation

ZEROS = bytes(1_000_000)
LAST_BLOCK = b"\x03\x00"
CORPUS = Path(__file__).parents[1] / "corpus"
LIMITS = ImageLimits(image_pixels_max=1_000_000)
EDGES = (0, 1, 7, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MARKERS = (
    0x01,
    0xC0,
    0xC2,
    0xC4,
    0xD0,
    0xD7,
    0xD8,
    0xD9,
    0xDA,
    0xDB,
    0xDD,
    0xE0,
    0xE1,
    0xE2,
    0xEE,
    0xFE,
    0xFF,
)
# On top of what the process has when it is ready. It is far more than what is asserted: where a codec gets no
# memory it reports damage, and the run would see nothing of it.
ADDRESS_SPACE_BYTES = 4_000_000_000
SWELL_BLOCKS_MAX = 200  # of a million zeros each
AGAIN_EACH = 8  # one input of so many is decoded twice
SCALED_EACH = 4  # one of so many is decoded smaller where it can be
SMALLER_SIDE = 20


def mutated(data: bytes, chance: random.Random, corpus: list[bytes]) -> bytes:
    """Change bytes: flip, overwrite, delete, insert, splice."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        # Headers are where the numbers are that decoders believe.
        at = chance.randrange(min(len(changed), 120) if chance.random() < 0.5 else len(changed))
        kind = chance.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            size = chance.choice((1, 2, 4))
            value = chance.choice(EDGES) % (1 << 8 * size)
            changed[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))
        elif kind == 2:
            del changed[at : at + chance.randrange(1, 20)]
            changed = changed or bytearray(b"?")
        elif kind == 3:
            changed[at:at] = chance.randbytes(chance.randrange(1, 20))
        else:
            other = chance.choice(corpus)
            start = chance.randrange(len(other))
            changed[at : at + 100] = other[start : start + 100]
    return bytes(changed)


def with_checksums(data: bytes) -> bytes:
    """Put every PNG checksum right, so that damage gets past it to the decoder."""
    fixed, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : end]
        fixed += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at = end + 4
    return bytes(fixed)


def shuffled(parts: list[bytes], chance: random.Random) -> list[bytes]:
    """Drop, double, repeat often, or exchange parts."""
    parts = list(parts)
    at, other = chance.randrange(len(parts)), chance.randrange(len(parts))
    kind = chance.randrange(4)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(other, parts[at])
    elif kind == 2:
        parts[at:at] = [parts[at]] * min(chance.choice((2, 30, 3_000)), 200_000 // (len(parts[at]) + 1))
    else:
        parts[at], parts[other] = parts[other], parts[at]
    return parts or [b"?"]


def swollen(rows: bytes, blocks: int) -> bytes:
    """Compress rows and millions of zeros behind them, without ever holding these."""
    packer = zlib.compressobj(1)
    if not blocks:
        return packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH) + packer.flush()
    # After a full flush the same bytes mean the same again.
    start = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)
    end = LAST_BLOCK + struct.pack(">I", zlib.adler32(ZEROS, zlib.adler32(rows)))
    return start + zeros_compressed() * blocks + end


@functools.cache
def zeros_compressed() -> bytes:
    """Compress a million zeros, so that they may stand after any full flush."""
    packer = zlib.compressobj(1)
    packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    return packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)


def png_changed(data: bytes, chance: random.Random) -> bytes:
    """Change a PNG chunk by chunk, and its rows once inflated, with lengths and checksums made right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : end - 4]))
        at = end
    kinds = [kind for kind, _ in chunks]
    at = kinds.index(b"IDAT") if chance.random() < 0.5 else chance.randrange(len(chunks))
    kind, body = chunks[at]
    if kind == b"IDAT":
        rows = zlib.decompressobj().decompress(body, 1_000_000)
        rows = mutated(rows or b"?", chance, [rows or b"?"])
        rows = rows[: chance.choice((len(rows), len(rows) // 2))]
        body = swollen(rows, chance.choice((0, 0, 0, 1, SWELL_BLOCKS_MAX)))
        body = body[: chance.choice((len(body), len(body), len(body) - 4, len(body) // 2))]
    elif body:
        body = mutated(body, chance, [body])
    chunks[at] = kind, body
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return data[:8] + b"".join(shuffled(parts, chance) if chance.random() < 0.3 else parts)


def jpeg_changed(data: bytes, chance: random.Random) -> bytes:
    """Change a JPEG segment by segment: order, lengths, markers inside others, padding before markers."""
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:
            break
        parts.append(data[at:end])
        at = end
    coded = data[at:]
    kind = chance.randrange(5)
    if kind == 0:
        parts = shuffled(parts, chance)
    elif kind == 1:
        body = b"".join(b"\xff" + bytes([chance.choice(MARKERS)]) for _ in range(chance.choice((1, 9, 900))))
        marker = bytes([0xFF, chance.choice(MARKERS)])
        parts.insert(chance.randrange(len(parts) + 1), marker + struct.pack(">H", len(body) + 2) + body)
    elif kind == 2:
        length = struct.pack(">H", chance.choice(EDGES) & 0xFFFF)
        at = chance.randrange(len(parts))
        parts[at] = parts[at][:2] + length + parts[at][4:]
    elif kind == 3:
        padding = chance.choice((b"\0", b"\0" * 15, b"\xff" * 9, b"\x55" * 3, b"\0" * 600))
        coded = b"".join(padding + one if one[:1] == b"\xff" else one for one in split_markers(coded))
    else:
        coded = b"".join(shuffled(split_markers(coded), chance))
    return data[:2] + b"".join(parts) + coded


def split_markers(coded: bytes) -> list[bytes]:
    """Cut coded data before each marker."""
    cuts = [at for at in range(len(coded) - 1) if coded[at] == 0xFF and coded[at + 1] not in (0, 0xFF)]
    return [coded[start:end] for start, end in zip([0, *cuts], [*cuts, len(coded)], strict=True)]


def riff_changed(data: bytes, chance: random.Random) -> bytes:
    """Change a WebP chunk by chunk; its lengths stay or are made right."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append(data[at : end + (end & 1)])
        at = end + (end & 1)
    at = chance.randrange(len(chunks))
    kind, body = chunks[at][:4], chunks[at][8:]
    body = mutated(body or b"?", chance, [body or b"?"])
    length = len(body) if chance.random() < 0.7 else chance.choice(EDGES)
    chunks[at] = kind + struct.pack("<I", length) + body + b"\0" * (len(body) & 1)
    if chance.random() < 0.4:
        chunks = shuffled(chunks, chance)
    content = b"".join(chunks)
    length = len(content) + 4 + chance.choice((0, 0, 0, 1, -1, 9))
    return b"RIFF" + struct.pack("<I", max(0, length)) + b"WEBP" + content


def tiff_changed(data: bytes, chance: random.Random) -> bytes:
    """Change a TIFF entry by entry: tag, type, count, value."""
    changed = bytearray(data)
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    for _ in range(chance.choice((1, 1, 3))):
        at = start + 2 + 12 * chance.randrange(count)
        field, code = chance.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I")))
        small = chance.randrange(20) if chance.random() < 0.5 else chance.choice(EDGES)
        value = chance.choice((small, chance.randrange(254, 342), len(data) - chance.randrange(60)))
        struct.pack_into(order + code, changed, at + field, value & (0xFFFF if code == "H" else 0xFFFFFFFF))
    return bytes(changed)


def heif_changed(data: bytes, chance: random.Random) -> bytes:
    """Change numbers in the boxes that describe an AVIF or HEIC picture, or take bytes of its data."""
    changed = bytearray(data)
    start, end = data.index(b"meta"), data.index(b"mdat") + 20
    for _ in range(chance.choice((1, 1, 3))):
        at, size = chance.randrange(start, end), chance.choice((1, 2, 4))
        small = chance.randrange(20) if chance.random() < 0.5 else chance.choice(EDGES)
        changed[at : at + size] = (small % (1 << 8 * size)).to_bytes(size)
    return bytes(changed[: chance.choice((len(data), len(data), len(data) - 30))])


BY_STRUCTURE: dict[bytes, Callable[[bytes, random.Random], bytes]] = {
    b"\x89PNG": png_changed,
    b"\xff\xd8\xff\xe0": jpeg_changed,
    b"\xff\xd8\xff\xe1": jpeg_changed,
    b"\xff\xd8\xff\xee": jpeg_changed,
    b"RIFF": riff_changed,
    b"II*\0": tiff_changed,
    b"ftyp": heif_changed,
}


def next_input(chance: random.Random, corpus: list[bytes]) -> bytes:
    """Return a mutated seed."""
    data = chance.choice(corpus)
    by_structure = BY_STRUCTURE.get(data[4:8] if data[4:8] == b"ftyp" else data[:4])
    if by_structure is None or chance.random() < 0.4:
        data = mutated(data, chance, corpus)
        return with_checksums(data) if data.startswith(b"\x89PNG") and chance.random() < 0.8 else data
    return by_structure(data, chance)


def answer(data: bytes, shorter_side_min: int | None) -> bytes | str:
    """Return the pixels, or the code of the refusal; anything else is a bug and goes up."""
    try:
        header = read_header(data, LIMITS)
    except RequestError as exc:
        return exc.code
    assert 1 <= read_orientation(data, header) <= 8
    try:
        pixels = decode(data, header, shorter_side_min=shorter_side_min)
    except JobError as exc:
        if isinstance(exc.__cause__, MemoryError):
            raise exc.__cause__ from exc
        return exc.code
    assert pixels.dtype == np.uint8
    if shorter_side_min is None:
        assert pixels.shape == (header.height, header.width, 3)
    else:
        assert min(pixels.shape[:2]) >= min(shorter_side_min, header.width, header.height)
    return pixels.tobytes()


def status(name: str) -> int:
    """Return a figure of this process in bytes."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1_024


def main(seed: int, rounds: int, folder: Path) -> None:
    """Decode `rounds` mutated seeds; keep in `folder` the one at which it fails."""
    corpus = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    for data in corpus:
        assert isinstance(answer(data, None), bytes)
    address_space = status("VmSize") + ADDRESS_SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    chance = random.Random(seed)
    held, reserved, slowest_s, accepted = status("VmHWM"), status("VmPeak"), 0.0, 0
    for at in range(rounds):
        data = next_input(chance, corpus)
        shorter_side_min = SMALLER_SIDE if at % SCALED_EACH == 0 else None
        try:
            began_s = time.process_time()
            first = answer(data, shorter_side_min)
            slowest_s = max(slowest_s, time.process_time() - began_s)
            assert at % AGAIN_EACH or answer(data, shorter_side_min) == first
        except BaseException:
            (folder / f"{seed}-{at}").write_bytes(data)
            raise
        accepted += isinstance(first, bytes)
    grown = {"grown_bytes": status("VmHWM") - held, "reserved_bytes": status("VmPeak") - reserved}
    print(json.dumps({"accepted": accepted, "slowest_s": slowest_s, **grown}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
