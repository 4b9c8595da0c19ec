"""The class project's own command line for load, against a real service, from process to process."""

import json
import subprocess
import sys
from pathlib import Path

from helpers.service import RunningService


def test_the_classic_line_gets_an_answer_of_its_own_for_every_image(
    service: RunningService, imagenet_100: Path
) -> None:
    # given the line as the class project writes it, the folder with its slash
    line = ["load", "--num_request", "100", "--url", f"{service.url}/upload"]
    line += ["--image_folder", f"{imagenet_100}/"]
    # when
    done = subprocess.run(
        [sys.executable, "-m", "beholder", *line, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    # then
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["requests"], summary["answered"], summary["unique_files"]) == (100, 100, 100)
    assert (summary["duplicates"], summary["errors"]) == (0, {})
