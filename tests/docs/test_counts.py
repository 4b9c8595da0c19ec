"""Counts and versions that the pages state are those of the project."""

import re
import tomllib

from docs.pages import read

PYPROJECT = tomllib.loads(read("pyproject.toml"))
NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
NUMBERS += ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")


def number(word: str) -> int:
    return int(word) if word.isdigit() else NUMBERS.index(word.lower())


def test_the_record_of_dependencies_counts_and_lists_them() -> None:
    text = read("docs/adr/0002-dependencies.md")
    required = {re.split(r"[>=\[]", one)[0] for one in PYPROJECT["project"]["dependencies"]}
    counted = re.search(r"^(\w+) direct dependencies", text, re.MULTILINE)
    assert counted is not None
    assert number(counted[1]) == len(required)
    listed = re.findall(r"^\| ([a-z][\w-]+) \| \d", text, re.MULTILINE)
    assert sorted(listed) == sorted(required)


def test_the_record_of_dependencies_has_the_versions_that_are_pinned() -> None:
    rows = re.findall(
        r"^\| ([a-z][\w-]+) \| (\d[\d.]*) \|", read("docs/adr/0002-dependencies.md"), re.MULTILINE
    )
    # Markers give some packages a version for each Python.
    pins = set(re.findall(r"^([\w-]+)==([\w.]+)", read("requirements.txt"), re.MULTILINE))
    assert set(rows) <= pins


def test_the_house_numbers_are_those_that_tests_hold() -> None:
    ratchets = read("tests/tidy/test_ratchets.py")
    names = ("FUNCTION_LINES_MAX", "COMPLEXITY_MAX", "FILE_LINES_MAX", "PORT_METHODS_MAX")
    held = [found for name in names for found in re.findall(rf"^{name} = (\d+)$", ratchets, re.MULTILINE)]
    told = re.search(
        r"at most (\d+) lines and a complexity of (\d+), a file (\d+) lines, a port (\d+) methods",
        " ".join(read("CONTRIBUTING.md").split()),
    )
    assert told is not None
    assert list(told.groups()) == held
