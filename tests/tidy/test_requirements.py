"""What pyproject.toml asks for is what requirements.txt pins, and the version is told once."""

import re
import tomllib
from typing import Any

import pytest

import beholder
from helpers.source import ROOT


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[str]) -> dict[str, str]:
    """Return the lowest version of each, by its normalized name."""
    found = {}
    for one in requirements:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9,]+\])?\s*>=\s*([0-9.]+)", one.strip())
        assert match, f"{one!r}: name a lowest version, NAME>=X"
        found[normal(match[1])] = match[2]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, list[str]]:
    """Return every version that a file pins, by name; markers give some packages several."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].partition(";")[0].strip().rstrip("\\").strip()
        if requirement and not requirement.startswith("-"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", requirement)
            assert match, f"{file}: {requirement!r} is not pinned"
            found.setdefault(normal(match[1]), []).append(match[2])
    assert found
    return found


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def test_every_dependency_is_pinned(project: dict[str, Any]) -> None:
    wanted, pinned = names(project["project"]["dependencies"]), pins("requirements.txt")
    assert not wanted.keys() - pinned.keys(), "make requirements.txt anew"
    for name, lowest in wanted.items():
        assert all(version(one) >= version(lowest) for one in pinned[name]), name


def test_what_developers_need_is_pinned_to_the_same_versions(project: dict[str, Any]) -> None:
    wanted, pinned = names(project["dependency-groups"]["dev"]), pins("requirements-dev.txt")
    assert not wanted.keys() - pinned.keys(), "make requirements-dev.txt anew"
    for name, versions in pins("requirements.txt").items():
        assert pinned[name] == versions


def test_dependencies_are_in_order_and_named_once(project: dict[str, Any]) -> None:
    for group in (project["project"]["dependencies"], project["dependency-groups"]["dev"]):
        assert list(names(group)) == sorted(names(group))


def test_the_package_tells_the_version_of_the_project(project: dict[str, Any]) -> None:
    assert beholder.__version__ == project["project"]["version"]


def test_the_oldest_python_is_the_one_that_is_checked_for(project: dict[str, Any]) -> None:
    lowest = project["project"]["requires-python"].removeprefix(">=")
    assert project["tool"]["mypy"]["python_version"] == lowest
    assert project["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    assert f"Programming Language :: Python :: {lowest}" in project["project"]["classifiers"]
