"""The pages of the project, and what in them is code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks", "column", "commands", "prose", "read", "slug", "table"]

ROOT = Path(__file__).resolve().parents[2]
# The folders are read, because git does not list a page that is not yet added.
_NOT_OURS = {".venv", "out", "dist", "build", "node_modules"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(
        part in _NOT_OURS or (part.startswith(".") and part != ".ci") for part in path.relative_to(ROOT).parts
    )
)

_FENCE = re.compile(
    r"(?P<mark><!-- run -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    must_run: bool


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [
        Block(found["language"], found["text"], found["mark"] is not None) for found in _FENCE.finditer(text)
    ]


def prose(text: str) -> str:
    """Return the text without its fenced blocks."""
    return _FENCE.sub("", text)


def commands(text: str) -> Iterator[str]:
    """Yield each line that a reader is to type, and each piece of code within a sentence."""
    for block in blocks(text):
        for line in block.text.splitlines():
            if block.language == "sh":
                yield line.partition(" #")[0]
            elif block.language == "console" and line.startswith("$ "):
                yield line.removeprefix("$ ")
    for found in _SPAN.finditer(prose(text)):
        yield found[1]


def table(text: str, first_title: str) -> list[list[str]]:
    """Return the rows of every table whose first column has this title."""
    rows: list[list[str]] = []
    inside = False
    for line in prose(text).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_title:
            inside = True
        elif inside and not line.startswith("|--"):
            rows.append(cells)
    return rows


def column(text: str, first_title: str, number: int = 0) -> list[str]:
    """Return the code in one column of these tables."""
    return [name for row in table(text, first_title) for name in _SPAN.findall(row[number])]


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on the usual hosts."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
