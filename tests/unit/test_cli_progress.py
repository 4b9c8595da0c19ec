"""Progress bars: on a terminal alone, beside what a command prints."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from beholder.cli.main import beholder
from beholder.cli.progress import TrackedFiles, with_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Terminal]:
    """Put a terminal, or a pipe, in the place of standard error."""
    monkeypatch.setenv("TERM", "xterm")

    def put(is_terminal: bool) -> Terminal:  # noqa: FBT001 -- what the test is parametrised by
        stderr = Terminal() if is_terminal else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        return stderr

    return put


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_shown_on_a_terminal_and_nothing_in_a_pipe(
    terminal: Callable[[bool], Terminal], *, is_terminal: bool
) -> None:
    stderr = terminal(is_terminal)
    assert list(with_progress(iter("abc"), 3, "counting")) == ["a", "b", "c"]
    # and: files show it each time that they are gone through, and are a sequence
    files = TrackedFiles([Path("a"), Path("b")], "running photos")
    assert [*files, *files] == [Path("a"), Path("b")] * 2
    assert (len(files), files[1], files[:1]) == (2, Path("b"), [Path("a")])
    shown = stderr.getvalue()
    if is_terminal:
        assert "counting" in shown
        assert "100%" in shown
        assert "running photos" in shown
    else:
        assert shown == ""


def test_a_simulation_shows_a_bar_while_its_table_goes_into_a_file(
    terminal: Callable[[bool], Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = terminal(True)
    arguments = ["simulate", "--workload", "step", "--policy", "beholder", "--compare"]
    beholder.main(arguments, standalone_mode=False)
    assert "simulating" in stderr.getvalue()
    printed = capsys.readouterr().out
    assert "beholder" in printed
    assert "simulating" not in printed
    # and: there is no trace of it where standard error is no terminal
    result = CliRunner().invoke(beholder, arguments)
    assert "simulating" not in result.stderr
    assert result.stdout == printed
