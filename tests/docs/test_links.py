"""Every link of every page leads somewhere."""

import re
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, prose, read, slug

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PARTS = ["## Context", "## Decision", "## Alternatives", "## Consequences"]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def is_there(target: Path, anchor: str) -> bool:
    """Say whether a file of the project, or a heading in it, exists."""
    if not target.exists() or ROOT not in (target, *target.parents):
        return False
    return not anchor or anchor in map(slug, _HEADING.findall(target.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not is_there(target, anchor):
            broken.append(link)
    assert broken == []


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/GLOSSARY.md"} <= set(map(named, PAGES))


def test_decisions_are_numbered_without_gaps_and_have_their_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for number, page in enumerate(pages, start=1):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. "), page.name
        assert [line for line in text.splitlines() if line.startswith("## ")] == _PARTS, page.name


def test_every_sample_photo_has_its_licence_stated() -> None:
    licences = read("samples/README.md").split("| file | author | licence |")[1]
    stated = set(re.findall(r"^\| `([^`]+)` \|", licences, re.MULTILINE))
    assert stated == {path.name for path in (ROOT / "samples").iterdir() if path.suffix != ".md"}


def test_the_picture_of_the_page_is_small() -> None:
    picture = ROOT / "docs" / "images" / "page.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= 200_000
