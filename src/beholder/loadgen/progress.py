"""The progress of a run: a live line on a terminal, a plain line every few seconds elsewhere."""

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from beholder.loadgen.answer import Answer
from beholder.loadgen.text import answer_line

__all__ = ["LiveProgress", "PlainProgress", "SilentProgress", "Tally"]

_LIVE_PERIOD_S = 0.25
_PLAIN_PERIOD_S = 3.0
# Latencies are kept in buckets 2 % wide: exact enough to read, at a cost that does not grow with the run.
_BUCKET_RATIO_LOG = math.log(1.02)
_LATENCY_S_MIN = 1e-6


class Tally:
    """Running figures of a run."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._started_at_s = now_s()
        self._buckets: Counter[int] = Counter()
        self.done = 0
        self.errors = 0

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.done += 1
        if answer.is_answered:
            self._buckets[int(math.log(max(answer.latency_s, _LATENCY_S_MIN)) / _BUCKET_RATIO_LOG)] += 1
        else:
            self.errors += 1

    def text(self) -> str:
        """Return rate, median so far and errors as one phrase."""
        elapsed_s = max(self._now_s() - self._started_at_s, _LATENCY_S_MIN)
        return f"{self.done / elapsed_s:.1f}/s  p50 {self._p50_s() * 1000:.0f} ms  errors {self.errors}"

    def _p50_s(self) -> float:
        left = (self._buckets.total() + 1) // 2
        for bucket, number in sorted(self._buckets.items()):
            left -= number
            if left <= 0:
                return math.exp(bucket * _BUCKET_RATIO_LOG)
        return 0.0


class SilentProgress(AbstractContextManager["SilentProgress"]):
    """Shows nothing of a run; other views override what they show."""

    def __exit__(self, *error: object) -> None:
        """End the view."""

    def show(self, answer: Answer) -> None:
        """Show one more answer."""


class PlainProgress(SilentProgress):
    """Writes a line every few seconds, or one for each answer."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        total: int | None,
        is_each: bool,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`write` prints a line; `total` is the number of requests, or None if unknown."""
        self._write = write
        self._total = "" if total is None else f" of {total}"
        self._is_each = is_each
        self._now_s = now_s
        self._tally = Tally(now_s)
        self._next_at_s = now_s() + _PLAIN_PERIOD_S

    def show(self, answer: Answer) -> None:
        """Count the answer, and write what is due."""
        self._tally.add(answer)
        if self._is_each:
            self._write(answer_line(answer))
        elif self._now_s() >= self._next_at_s:
            self._next_at_s = self._now_s() + _PLAIN_PERIOD_S
            self._write(f"{self._tally.done}{self._total}  {self._tally.text()}")


class LiveProgress(SilentProgress):
    """Draws a bar with figures that stays on the last line of the terminal."""

    def __init__(self, console: Console, *, total: int | None, is_each: bool) -> None:
        """`total` is the number of requests, or None if unknown."""
        self._console = console
        self._is_each = is_each
        self._tally = Tally(time.monotonic)
        self._next_at_s = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            refresh_per_second=1 / _LIVE_PERIOD_S,
        )
        self._bar = self._progress.add_task("", total=total, figures="")

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Draw the last state and stop."""
        self._draw()
        self._progress.stop()

    def show(self, answer: Answer) -> None:
        """Count the answer and redraw: after every answer if each has a line, else a few times a second."""
        self._tally.add(answer)
        if self._is_each or time.monotonic() >= self._next_at_s:
            self._next_at_s = time.monotonic() + _LIVE_PERIOD_S
            self._draw()
        if self._is_each:
            style = None if answer.is_answered else "red"
            self._console.print(answer_line(answer), style=style, markup=False, highlight=False)

    def _draw(self) -> None:
        self._progress.update(self._bar, completed=self._tally.done, figures=self._tally.text())
