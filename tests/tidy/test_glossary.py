"""The glossary and the code use the same words."""

import ast
import functools
import re

import pytest

from helpers.source import ROOT, modules

TITLES = ["word", "means", "not"]
GLOSSARY = ROOT / "docs" / "GLOSSARY.md"

# Of the words that stand under "not", those that could mean nothing else here.
NEVER = {
    "acceptor",
    "bell",
    "boot",
    "booting",
    "clerk",
    "desk",
    "graveyard",
    "habits",
    "hands",
    "intake",
    "janitor",
    "keeper",
    "lane",
    "lanes",
    "law",
    "lifeline",
    "lull",
    "phantom",
    "prediction",
    "predictor",
    "quotas",
    "retire",
    "ticket",
    "want",
    "watchdog",
    "workload",
}


def table_lines() -> list[list[str]]:
    lines = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def rows() -> list[list[str]]:
    return [row for row in table_lines() if row != TITLES]


def written_as_code() -> list[str]:
    return [name for row in rows() for name in re.findall(r"`([^`]+)`", row[0])]


@functools.cache
def defined() -> set[str]:
    """Return every name that the code defines: classes, functions, arguments, attributes and variables."""
    found = set()
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_there_are_words() -> None:
    assert len(rows()) > 30


def test_every_table_has_the_same_columns() -> None:
    assert {len(row) for row in rows()} == {len(TITLES)}
    assert [row for row in table_lines() if row[0] == TITLES[0] and row != TITLES] == []


@pytest.mark.parametrize("name", written_as_code())
def test_a_word_that_is_written_as_code_exists(name: str) -> None:
    assert name in defined()


def test_a_word_has_one_row() -> None:
    words = [row[0] for row in rows()]
    assert sorted(words) == sorted(set(words))


def words_of(name: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name)}


def names_in(node: ast.AST) -> list[str]:
    """Return the name that a node gives to something; a name that it only uses is another's."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case (
            ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store())
        ):
            return [name]
    return []


def test_refused_words_name_nothing() -> None:
    refused = {word for row in rows() for word in re.split(r"[,;]\s*", row[-1])}
    assert refused >= NEVER, "take the words that the glossary no longer refuses from this test"
    wrong = {
        f"{module.path}: {name}"
        for module in modules()
        for node in ast.walk(module.tree)
        for name in names_in(node)
        if NEVER & words_of(name)
    }
    assert not wrong


# Pronouns that hide who acts: a page or docstring names the process, the client or the operator instead.
RIDDLES = re.compile(r"\b(somebody|whoever|everybody|anybody)\b", re.IGNORECASE)


def test_pages_and_docstrings_name_who_acts() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    pages += [*(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]
    found = [
        f"{page.name}: {match[0]}" for page in pages for match in RIDDLES.finditer(page.read_text("utf-8"))
    ]
    assert found == []
