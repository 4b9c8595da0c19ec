"""A minute of mutated images: each is answered, within bounds of memory and work, and twice the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beholder.model.decode.header import ImageFormat, read_header
from helpers import fuzzing

ROUNDS = 60_000
SEEDS_BYTES_MAX = 300_000
# Eight bytes for each of the million pixels that the run allows, copies of inputs, tables of codecs.
GROWN_BYTES_MAX = 30_000_000
RESERVED_BYTES_MAX = 30_000_000  # whether touched or not
CALL_S_MAX = 5.0  # of this process's own time, where ordinary calls take a millisecond
ACCEPTED_MIN = ROUNDS // 10  # of an input whose damage touches no pixel; fewer test the checks alone


def test_the_seeds_are_small_and_show_every_format() -> None:
    seeds = [path.read_bytes() for path in fuzzing.CORPUS.iterdir()]

    assert sum(len(seed) for seed in seeds) <= SEEDS_BYTES_MAX
    assert {read_header(seed, fuzzing.LIMITS).format for seed in seeds} == set(ImageFormat)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20_271, 20_272])
def test_mutated_images_are_answered_within_bounds(seed: int, tmp_path: Path) -> None:
    run = [sys.executable, "-W", "error", str(fuzzing.__file__), str(seed), str(ROUNDS), str(tmp_path)]

    done = subprocess.run(
        run, capture_output=True, text=True, check=False, env=os.environ | {"MALLOC_ARENA_MAX": "1"}
    )

    assert done.returncode == 0, f"{done.stderr}\nthe input is {sorted(tmp_path.iterdir())}"
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["accepted"] > ACCEPTED_MIN
    assert seen["grown_bytes"] < GROWN_BYTES_MAX
    assert seen["reserved_bytes"] < RESERVED_BYTES_MAX
    assert seen["slowest_s"] < CALL_S_MAX
