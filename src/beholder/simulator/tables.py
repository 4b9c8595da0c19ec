"""The figures as text: for a terminal, as CSV, and as the Markdown of the page on the simulator."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from beholder.simulator.compare import Comparison, geometric_mean
from beholder.simulator.run import Figures

__all__ = ["cells", "csv_table", "markdown_tables", "percent", "seconds", "text_table", "verdict_lines"]

_HEAD = (
    "traffic",
    "policy",
    "inst-h",
    "cost",
    "inside",
    "p50 s",
    "p95 s",
    "p99 s",
    "idle h",
    "startups",
    "kills",
    "unserved",
)


_VERDICT_HEAD = (
    "traffic",
    "ours, inst-h",
    "best baseline as good",
    "its inst-h",
    "ours against it",
    "cheaper and sooner",
)


def seconds(value: float) -> str:
    """Return a latency as text."""
    return "never" if math.isinf(value) else f"{value:,.1f}"


def percent(share: float) -> str:
    """Return a share of requests, rounded down, so that 100 % means all of them."""
    return f"{math.floor(share * 10_000) / 100:.2f} %"


def text_table(figures: Iterable[Figures]) -> str:
    """Return a table for a terminal."""
    return _aligned([_HEAD, *(cells(one) for one in figures)])


def csv_table(figures: Iterable[Figures]) -> str:
    """Return every figure as CSV, one run per line."""
    rows = [one.as_json() for one in figures]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def verdict_lines(found: Sequence[Comparison]) -> list[str]:
    """Return in words how our policy compares."""
    lines = []
    for one in found:
        if one.best is None:
            line = f"{one.ours.traffic}: no baseline serves as many inside the goal"
        else:
            line = f"{one.ours.traffic}: {_saved(one)} than {one.best.policy}"
        beaten = f"; cheaper and sooner: {', '.join(one.better_in_both)}" if one.better_in_both else ""
        lines.append(line + beaten)
    mean = geometric_mean(one.ratio for one in found)
    if mean is not None and len(found) > 1:
        lines.append(f"geometric mean of instance-hours against the best baseline: {mean - 1:+.0%}")
    return lines


def markdown_tables(figures: Sequence[Figures], found: Sequence[Comparison]) -> str:
    """Return the verdicts and every run as Markdown."""
    lines = _markdown_head(_VERDICT_HEAD)
    for one in found:
        best = ("none", "", "") if one.best is None else (one.best.policy, _hours(one.best), _against(one))
        verdict = (one.ours.traffic, _hours(one.ours), *best, ", ".join(one.better_in_both) or "none")
        lines.append(f"| {' | '.join(verdict)} |")
    mean = geometric_mean(one.ratio for one in found)
    if mean is not None:
        counted = sum(one.ratio is not None for one in found)
        lines += ["", f"Geometric mean over the {counted} traffics with such a baseline: {mean - 1:+.0%}."]
    head = (*_HEAD[:3], "inside the goal", *_HEAD[5:11])
    lines += ["", *_markdown_head(head)]
    for row in map(cells, figures):
        lines.append(f"| {' | '.join((*row[:3], *row[4:11]))} |")
    return "\n".join(lines) + "\n"


def _markdown_head(titles: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def _saved(one: Comparison) -> str:
    ratio = one.ratio
    if ratio is None:
        return "no hours to compare"
    return f"{abs(ratio - 1):.0%} {'fewer' if ratio < 1 else 'more'} instance-hours"


def _against(one: Comparison) -> str:
    return "" if one.ratio is None else f"{one.ratio - 1:+.0%}"


def _hours(one: Figures) -> str:
    return f"{one.instance_hours:,.2f}"


def cells(one: Figures) -> tuple[str, ...]:
    """Return the figures of a run as texts: a row of the table for a terminal."""
    return (
        one.traffic,
        one.policy,
        _hours(one),
        f"{one.cost:,.2f}",
        percent(one.share_inside),
        seconds(one.p50_s),
        seconds(one.p95_s),
        seconds(one.p99_s),
        f"{one.idle_hours:,.2f}",
        str(one.startups),
        str(one.busy_kills),
        str(one.unserved),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join((*names, *numbers)).rstrip())
    return "\n".join(lines) + "\n"
