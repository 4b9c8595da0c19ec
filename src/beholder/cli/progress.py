"""Progress bars of commands that take long, on a terminal only."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, overload

__all__ = ["TrackedFiles", "with_progress"]

_Item = TypeVar("_Item")


def with_progress(items: Iterable[_Item], count: int, what: str) -> Iterator[_Item]:
    """Yield the items, and show on a terminal how many there are yet to come, below what the command prints.

    Args:
        items: What is worked on.
        count: Their number.
        what: What the command does, as a participle.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # noqa: PLC0415 -- a slow import
    from rich.progress import Progress  # noqa: PLC0415

    is_output_shown = sys.stdout.isatty()
    with Progress(console=Console(stderr=not is_output_shown), redirect_stdout=is_output_shown) as progress:
        yield from progress.track(items, total=count, description=what)


class TrackedFiles(Sequence[Path]):
    """Files that show their progress each time they are gone through.

    Args:
        files: The files.
        what: What the command does, as a participle.
    """

    def __init__(self, files: Sequence[Path], what: str) -> None:
        self._files = files
        self._what = what

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...

    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        """Return one file, or some."""
        return self._files[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._files)

    def __iter__(self) -> Iterator[Path]:
        """Yield the files."""
        return with_progress(self._files, len(self._files), self._what)
