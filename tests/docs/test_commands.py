"""Every command that the pages name exists, with its options; and every command is named."""

import re
from pathlib import Path

import click
import pytest

from beholder.cli.main import beholder
from docs.pages import PAGES, ROOT, commands, read

_MAKE = re.compile(r"(?:^|\s)make ([a-z][a-z-]*)")
_BEHOLDER = re.compile(r"(?:^|[\s/])beholder ((?:[a-z]|--?[a-z]).*)")
_OPTION = re.compile(r"(?:^|\s)(--?[a-z][\w-]*)")
# The one command line of another program that the pages quote.
_NOT_OURS = "multithread_workload_generator"


def targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: ([a-z-]+)$", read("Makefile"), re.MULTILINE))


def command_lines(page: Path) -> list[str]:
    """Return what follows `beholder` wherever it is called in a page."""
    lines = commands(page.read_text(encoding="utf-8"))
    return [found[1] for line in lines if _NOT_OURS not in line and (found := _BEHOLDER.search(line))]


def problem_with(line: str) -> str | None:
    """Return what is wrong with a command line, given without its `beholder`."""
    command: click.Command = beholder
    words = line.split()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0).partition("|")[0]
        inner = command.get_command(click.Context(command), name)
        if inner is None:
            return f"{command.name} has no command {name!r}: {line}"
        command = inner
    known = {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    unknown = [option for option in _OPTION.findall(line) if option not in known]
    return f"{command.name} has no option {unknown}: {line}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_targets_that_a_page_names_exist(page: Path) -> None:
    named = {name for line in commands(page.read_text(encoding="utf-8")) for name in _MAKE.findall(line)}
    assert named <= targets()
    assert [problem for line in command_lines(page) if (problem := problem_with(line))] == []


def test_the_readme_names_what_a_developer_types() -> None:
    named = {name for line in commands(read("README.md")) for name in _MAKE.findall(line)}
    assert {"run", "test", "check"} <= named


def test_every_command_is_in_the_readme_or_the_docs() -> None:
    named = {line.split()[0].partition("|")[0] for page in PAGES for line in command_lines(page)}
    listed = set(beholder.list_commands(click.Context(beholder)))
    assert listed - named - {"demo"} == set()


def test_make_help_lists_what_a_newcomer_needs() -> None:
    described = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    assert {"help", "setup", "run", "test", "check", "bench"} <= described <= targets()
