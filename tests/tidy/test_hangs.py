"""A test that hangs ends the run and shows where: `faulthandler_timeout`, and what conftest.py adds to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.source import ROOT

HANGING = """
import threading
import pytest

@pytest.fixture
def waits_for_ever():
    yield
    threading.Event().wait()

def test_that_hangs(waits_for_ever):
    assert {holds}
"""


@pytest.mark.parametrize("holds", [True, False], ids=["passed", "failed"])
def test_a_teardown_that_hangs_ends_the_run(tmp_path: Path, holds: bool) -> None:  # noqa: FBT001 -- a parameter
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text(HANGING.format(holds=holds))
    options = ["-c", str(ROOT / "pyproject.toml"), "-p", "conftest", "-o", "faulthandler_timeout=0.5"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(hanging)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "in waits_for_ever" in ended.stderr
