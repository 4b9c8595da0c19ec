"""What the architecture page says of rooms, ports and counts is what the tree has."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, blocks, column, prose, read
from helpers.source import SRC, modules

PAGE = "docs/architecture.md"
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


def rooms() -> set[str]:
    return {path.parent.name for path in SRC.glob("*/__init__.py")}


def ports() -> dict[str, set[str]]:
    """Return the methods of each room's port."""
    return {
        module.path: {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
        for module in modules()
        if re.fullmatch(r"\w+/port\.py", module.path)
        for node in module.nodes(ast.ClassDef)
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    }


def adapters(port: str, methods: set[str]) -> set[str]:
    """Return the files beside a port that have a class with its methods."""
    return {
        module.path
        for module in modules()
        if module.path != port and module.path.rpartition("/")[0] == port.rpartition("/")[0]
        for node in module.nodes(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
        and methods <= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    }


# --- rooms and ports ----------------------------------------------------------------------------------------


def test_every_room_is_described() -> None:
    assert set(column(read(PAGE), "room")) == rooms()


def test_the_layers_are_those_that_are_linted() -> None:
    (shown,) = (block.text for block in blocks(read(PAGE)) if block.text.startswith("cli\n"))
    (linted,) = (
        one["layers"] for one in PYPROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    assert shown.split("\n")[:-1] == linted


def test_the_table_of_ports_has_every_port() -> None:
    assert (
        set(column(read(PAGE), "port"))
        == ports().keys()
        >= {"queue/port.py", "store/port.py", "fleet/port.py"}
    )


@pytest.mark.parametrize("port", ports())
def test_the_table_of_ports_has_every_adapter(port: str) -> None:
    listed = {name for name in column(read(PAGE), "port", 2) if name.startswith(port.rpartition("/")[0])}
    assert listed == adapters(port, ports()[port]) != set()


def test_the_suites_run_on_the_ports_that_the_page_says() -> None:
    suites = {path.name.removesuffix("_contract.py") for path in (SRC / "testing").glob("*_contract.py")}
    assert suites == {"queue", "priority", "store", "fleet"}


# --- paths --------------------------------------------------------------------------------------------------


def exists(path: str) -> bool:
    """Say whether a path lies in the repository, or below the package, as the pages abbreviate it."""
    return (ROOT / path).exists() or (SRC / path).exists() or path in OUTSIDE


# What the pages name that is no file of the repository: files of a user, of a service, or of a tool.
OUTSIDE = {"openvino/__init__.py", "torchvision/models/resnet.py"}


def test_the_places_to_change_exist() -> None:
    places = column(read(PAGE), "to change", 1)
    assert len(places) > 20
    assert [path for path in places if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_file_of_python_that_a_page_names_exists(page: Path) -> None:
    """A decision record tells of its own time, and a change log of every time."""
    if "adr" in page.parts or page.name == "CHANGELOG.md":
        pytest.skip("history")
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", prose(page.read_text(encoding="utf-8")))
    assert [path for path in named if not exists(path)] == []


# --- counts -------------------------------------------------------------------------------------------------


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
