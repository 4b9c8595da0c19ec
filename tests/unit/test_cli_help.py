"""What the command line says of itself."""

import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import beholder.cli
from beholder import __version__
from beholder.config import DECLARED

GROUP: click.Group = sys.modules["beholder.cli.main"].beholder
assert beholder.cli.main


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group with the words that lead to it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


ALL = [((), GROUP), *commands(GROUP)]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "beholder" for path, _ in ALL])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_option_and_reads_as_text(
    path: tuple[str, ...], command: click.Command, flag: str
) -> None:
    # when
    result = CliRunner().invoke(GROUP, [*path, flag])
    # then
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")
    assert "\b" not in result.output
    assert "\\b" not in result.output
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{parameter.name} says nothing of itself"
            assert all(name in result.output for name in parameter.opts)
    assert command.help
    assert max(len(line) for line in result.output.splitlines()) <= 100


def test_every_command_stands_in_the_list_with_a_sentence() -> None:
    output = CliRunner().invoke(GROUP, ["--help"]).output
    for path, _ in commands(GROUP):
        if len(path) == 1:
            line = next(line for line in output.splitlines() if line.strip().startswith(f"{path[0]} "))
            assert len(line.split()) > 3


def test_options_that_are_settings_have_the_setting_s_name_and_meaning() -> None:
    by_name = {one.name: one.meaning for one in DECLARED.values()}
    found = 0
    for _, command in commands(GROUP):
        for parameter in command.params:
            meaning = by_name.get(str(parameter.name))
            if meaning is not None and isinstance(parameter, click.Option) and parameter.metavar == "VALUE":
                assert (parameter.help or "").lower().startswith(meaning.lower())
                found += 1
    assert found > 10


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(GROUP, ["--version"]).output == f"beholder, version {__version__}\n"


@pytest.mark.parametrize("arguments", [["upp"], ["up", "--prot", "80"], ["up", "extra"]])
def test_a_slip_of_the_pen_is_an_exit_status_of_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(GROUP, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.output


def test_no_command_at_all_shows_the_help() -> None:
    result = CliRunner().invoke(GROUP, [])
    assert "Commands:" in result.output


# --- programs -----------------------------------------------------------------------------------------------

# These start, change or ask, and tell what they do, which is no report; `models show` prints JSON alone. The
# commands that change a model have --json, because a script goes on with the folder or the figures.
NO_REPORT = {
    *("bake", "demo", "deploy", "destroy", "logs", "ship-logs", "up", "upgrade", "web", "worker"),
    *("keys create", "keys revoke", "service install", "service uninstall"),
    "models show",
}


def test_each_command_that_reports_can_print_json() -> None:
    def has_json(command: click.Command) -> bool:
        return any("--json" in parameter.opts for parameter in command.params)

    leaves = {" ".join(path): one for path, one in ALL if not isinstance(one, click.Group)}
    assert leaves.keys() >= NO_REPORT
    assert {name for name, one in leaves.items() if not has_json(one)} == NO_REPORT


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("beholder serv", {"service"}),
        ("beholder service un", {"uninstall"}),
        ("beholder up --po", {"--port"}),
    ],
)
def test_a_shell_completes_commands_and_options(line: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_BEHOLDER_COMPLETE": "bash_complete"}
    told = CliRunner().invoke(GROUP, [], env=words, prog_name="beholder").output
    assert {one.removeprefix("plain,") for one in told.split()} == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    # bash is asked for its version; where there is none, the script is the same.
    told = CliRunner().invoke(GROUP, [], env={"_BEHOLDER_COMPLETE": f"{shell}_source"}, prog_name="beholder")
    assert f"_BEHOLDER_COMPLETE={shell}_complete" in told.output
