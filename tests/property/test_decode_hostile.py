"""Whatever bytes come, the answer is pixels or one of our errors, and pixels are the whole picture."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from beholder.errors import JobError, RequestError
from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.decode.orientation import read_orientation
from helpers.fuzzing import CORPUS as CORPUS_FOLDER
from helpers.fuzzing import mutated, with_checksums

LIMITS = ImageLimits(image_pixels_max=1_000_000)
FUZZ_ROUNDS = 4_000
CORPUS = [path.read_bytes() for path in sorted(CORPUS_FOLDER.iterdir())]


def answer(data: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels, or None for a refusal; anything else is a bug and goes up."""
    try:
        header = read_header(data, LIMITS)
        assert 1 <= read_orientation(data, header) <= 8
        pixels = decode(data, header)
    except (RequestError, JobError):
        return None
    assert pixels.dtype == np.uint8
    assert pixels.shape == (header.height, header.width, 3)
    return pixels


WHOLE = [answer(data) for data in CORPUS]


@settings(max_examples=400)
@given(st.integers(0, len(CORPUS) - 1), st.floats(0, 1, exclude_max=True))
def test_a_prefix_is_refused_or_is_the_whole_picture(index: int, kept: float) -> None:
    pixels = answer(CORPUS[index][: int(len(CORPUS[index]) * kept)])

    assert pixels is None or np.array_equal(pixels, WHOLE[index])


def test_the_last_bytes_of_every_file_matter_or_do_not_change_the_picture() -> None:
    for data, whole in zip(CORPUS, WHOLE, strict=True):
        assert whole is not None
        for missing in range(1, 40):
            pixels = answer(data[:-missing])
            assert pixels is None or np.array_equal(pixels, whole)


@settings(max_examples=300)
@given(
    st.sampled_from(CORPUS),
    st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_changed_bytes_never_raise_anything_else(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value

    answer(bytes(changed))


@settings(max_examples=300)
@given(
    st.sampled_from([b"", *(data[:n] for data in CORPUS[::4] for n in (4, 12, 30))]),
    st.binary(max_size=400),
)
def test_garbage_never_raises_anything_else(start: bytes, rest: bytes) -> None:
    answer(start + rest)


def test_a_seeded_fuzz_never_raises_anything_else() -> None:
    chance = random.Random(20_240)
    accepted = 0
    for _ in range(FUZZ_ROUNDS):
        data = mutated(chance.choice(CORPUS), chance, CORPUS)
        if data.startswith(b"\x89PNG"):
            data = with_checksums(data)
        accepted += answer(data) is not None

    assert 0 < accepted < FUZZ_ROUNDS  # some damage touches only what no pixel depends on
