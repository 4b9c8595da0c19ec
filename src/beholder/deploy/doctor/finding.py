"""Findings: what a check says, how bad it is, and the command that mends it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from beholder.errors import BackendDenied, BackendError

__all__ = ["Finding", "Level", "attempt", "has_problem"]

_CHARS_MAX = 300


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What one check says.

    Args:
        check: The check's name, such as 'spot quota'.
        level: A deployment is not begun, or does not work, while there is a problem.
        sentence: What was found.
        command: What mends it; empty where nothing needs to be mended, or no command can.
    """

    check: str
    level: Level
    sentence: str
    command: str = ""

    def line(self) -> str:
        """Return the finding as text, with its command on a line of its own."""
        command = f"\n{'':9}{self.command}" if self.command else ""
        return f"{self.level:<8} {self.check}: {self.sentence}{command}"


def attempt(check: str, read_and_judge: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings of a check; if a service refuses or fails, a warning that it could not be made.

    Args:
        check: The check's name.
        read_and_judge: Reads what the check needs, and decides.
    """
    try:
        return list(read_and_judge())
    except BackendError as exc:
        why = "it is refused" if isinstance(exc, BackendDenied) else "a service does not answer"
        return [Finding(check, Level.WARNING, f"not checked, because {why}: {_first_line(exc.message)}")]


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:_CHARS_MAX]


def has_problem(findings: Iterable[Finding]) -> bool:
    """Return whether there is a problem among findings."""
    return any(one.level is Level.PROBLEM for one in findings)
