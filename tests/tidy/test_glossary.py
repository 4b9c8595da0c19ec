"""The glossary and the code use the same words."""

import ast
import functools
import re

import pytest

from helpers.source import ROOT, modules

GLOSSARY = ROOT / "docs" / "GLOSSARY.md"

# Of the words that stand under "not", those that could mean nothing else here.
NEVER = {
    "task",
    "workload",
    "envelope",
    "graveyard",
    "watchdog",
    "prediction",
    "predictor",
    "quotas",
}


def rows() -> list[list[str]]:
    lines = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in found if row[0] != "word"]


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


@pytest.mark.parametrize("name", written_as_code())
def test_a_word_that_is_written_as_code_exists(name: str) -> None:
    assert name in defined()


def test_a_word_has_one_row() -> None:
    words = [row[0] for row in rows()]
    assert sorted(words) == sorted(set(words))


def test_words_that_are_not_ours_name_nothing() -> None:
    refused = {word for row in rows() for word in re.split(r"[,;]\s*", row[-1])}
    assert refused >= NEVER, "take the words that the glossary no longer refuses from this test"
    names = {
        node.name if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else node.arg
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.arg)
    }
    wrong = {name for name in names if NEVER & {part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name)}}
    assert not wrong
