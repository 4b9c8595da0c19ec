"""The examples marked `<!-- run -->` do what the pages show, before a real service."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, blocks
from helpers.service import RunningService

URL = "http://127.0.0.1:8080"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Example:
    """A command and what it prints; `...` stands for anything."""

    page: str
    command: str
    output: str

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", f"{self.page} {self.command}").strip("-")[:60]


def example(page: str, entry: str) -> Example:
    """Return the example of an entry, whose command goes on in the lines that begin with '>'."""
    first, *lines = entry.splitlines()
    more = list(takewhile(lambda line: line.startswith(">"), lines))
    command = "\n".join([first, *[line[2:] for line in more]])
    return Example(page, command, "".join(f"{line}\n" for line in lines[len(more) :]))


def examples() -> list[Example]:
    return [
        example(page.relative_to(ROOT).as_posix(), entry)
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.must_run
        for entry in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    ]


def test_the_readme_has_examples_that_run() -> None:
    assert {one.command.split()[0] for one in examples() if one.page == "README.md"} >= {"curl", "beholder"}


@pytest.mark.parametrize("example", examples(), ids=str)
def test_an_example_prints_what_the_page_shows(example: Example, service: RunningService) -> None:
    program = example.command.split()[0]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which(program, path=path) is None:
        sentence = f"{program} is not installed; apt-get install {program}"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    run = subprocess.run(
        ["bash", "-c", example.command.replace(URL, service.url)],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    shown = example.output.replace(URL, service.url)
    assert doctest.OutputChecker().check_output(shown, run.stdout, OPTIONS), run.stdout
