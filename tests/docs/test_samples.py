"""The table of the README is what `make run` prints, whatever this machine's CPU computes in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks, read

ROW = re.compile(r"(\S+\.jpg) +(\S.*?) +([0-9.]+)% +[0-9]+ ms")
# What a decoder or an order of additions may move a confidence by in fp32, in percentage points.
ROUNDING = 0.3
# The logit of the second label would have to move by 0.7 to change the first.
MARGIN_MIN = 2.0


def rows(text: str) -> dict[str, tuple[str, float]]:
    """Return each photo's label and confidence in per cent."""
    return {file: (label, float(confidence)) for file, label, confidence in ROW.findall(text)}


def shown() -> dict[str, tuple[str, float]]:
    return next(found for block in blocks(read("README.md")) if (found := rows(block.text)))


def beholder(*arguments: object, **environment: str) -> str:
    command = [sys.executable, "-m", "beholder", *(str(one) for one in arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BEHOLDER_")}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=clean | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_shows_what_the_first_command_prints(tmp_path: Path) -> None:
    # when: what `make run ARGS=--exit` runs; bf16 moves a confidence by up to five points
    demo = ("demo", "--exit", "--port", "0", "--data-dir", tmp_path / "data")
    printed = rows(beholder(*demo, BEHOLDER_PRECISION="fp32"))
    # then
    assert shown().keys() == printed.keys() == {path.name for path in (ROOT / "samples").glob("*.jpg")}
    for file, (label, confidence) in shown().items():
        assert printed[file] == (label, pytest.approx(confidence, abs=ROUNDING)), file


def test_no_answer_to_a_sample_hangs_on_the_precision() -> None:
    for line in beholder("classify", "--top-k", "2", "--json", "samples").splitlines():
        found = json.loads(line)
        first, second = found["labels"]
        assert first["name"] == shown()[Path(found["file"]).name][0]
        assert first["confidence"] >= MARGIN_MIN * second["confidence"], found
