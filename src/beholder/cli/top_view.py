"""What `beholder top` shows: figures from two looks at a service, and their form on a terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Scrape", "figures_of", "read_metrics", "view_of"]

_INSTANCE_COLUMNS = ("id", "state", "busy", "type", "age", "$ an hour")
# What is left out first where a terminal has fewer columns than this.
_LEFT_OUT = {"$ an hour": 80, "type": 70, "busy": 50}
# The title, the head of the instances, and what is said below them.
_LINES_AROUND = 3
_NAMES_WIDTH = 10
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400

Samples = Mapping[str, float]
"""The value of each series, by its name and labels as `name{label=value}`."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a service told at one moment.

    Args:
        at_s: When, by any clock that goes on.
        samples: Of `/metrics`.
        fleet: The document of `/v1/fleet`.
    """

    at_s: float
    samples: Samples
    fleet: Mapping[str, Any]


def read_metrics(text: str) -> Samples:
    """Return the series of a text in Prometheus's form.

    Raises:
        ValueError: It is none.
    """
    return {
        _series(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures_of(before: Scrape | None, now: Scrape) -> dict[str, Any]:
    """Return the figures of the time between two looks; those that need both are None without the first.

    A counter that went back, as after a restart of the web process, tells nothing either.
    """
    fleet, done = now.fleet, ("succeeded", "failed", "expired")
    jobs = {state: now.samples.get(_series("beholder_jobs_total", {"state": state}), 0) for state in done}
    grown = _growth(before, now)
    span_s = 0.0 if before is None else now.at_s - before.at_s
    ended = _total(grown, "beholder_jobs_total", without="queued")
    requests = _total(grown, "beholder_requests_total")
    return {
        "images_per_s": None if ended is None or not span_s else ended / span_s,
        "requests_per_s": None if requests is None or not span_s else requests / span_s,
        "latency_s_p50": _quantile(grown, "beholder_job_latency_seconds", 0.5),
        "latency_s_p95": _quantile(grown, "beholder_job_latency_seconds", 0.95),
        "wait_s_p95": _quantile(grown, "beholder_job_wait_seconds", 0.95),
        "queue": {
            state: now.samples.get(_series("beholder_queue_depth", {"state": state}))
            for state in ("backlog", "in_flight", "delayed")
        },
        "fleet": {**fleet["states"], "busy": fleet["busy"], "desired": fleet["desired"]},
        "price_per_hour": fleet["price_per_hour"],
        "failed": jobs["failed"],
        "expired": jobs["expired"],
        "dead_letters": now.samples.get("beholder_dead_letters_total", 0),
        "controller": fleet["controller"],
        "reason": fleet["decision"]["reason"] if fleet["decision"] else None,
        "instances": fleet["instances"],
    }


def view_of(
    figures: Mapping[str, Any], url: str, problem: str, *, height: int, width: int
) -> "RenderableType":
    """Return the figures as they are drawn.

    Args:
        figures: Of `figures_of`.
        url: The service's address.
        problem: Why they are not new; empty if they are.
        height: Lines of the terminal.
        width: Its columns.
    """
    from rich.console import Group  # noqa: PLC0415 -- only for a terminal
    from rich.table import Column, Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    facts = Table.grid(Column(width=_NAMES_WIDTH), Column())
    lines = _LINES_AROUND + _lines_of(problem, width)
    for name, text in _facts(figures):
        facts.add_row(Text(name, style="bold"), Text(text))
        lines += _lines_of(text, width - _NAMES_WIDTH)
    columns = [name for name in _INSTANCE_COLUMNS if width >= _LEFT_OUT.get(name, 0)]
    # Each instance has one line: what is too long is cut, not wrapped.
    heads = [Column(name, no_wrap=True) for name in columns]
    instances = Table(*heads, box=None, pad_edge=False, header_style="bold")
    shown = figures["instances"][: max(1, height - lines)]
    for one in shown:
        cells = dict(zip(_INSTANCE_COLUMNS, _cells(one), strict=True))
        instances.add_row(*(Text(cells[name]) for name in columns))
    hidden = len(figures["instances"]) - len(shown)
    return Group(
        Text(f"beholder  {url}", no_wrap=True, overflow="ellipsis"),
        Text(problem, style="red"),
        facts,
        instances,
        Text(f"and {hidden} more" if hidden else "", style="dim"),
    )


def _lines_of(text: str, width: int) -> int:
    return max(1, len(textwrap.wrap(text, max(1, width))))


def _facts(figures: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    queue, fleet, controller = figures["queue"], figures["fleet"], figures["controller"]
    decided = "no controller has decided yet"
    if controller:
        decided = f"{_age(controller['age_s'])} ago: {figures['reason']}"
    rates = f"{_rate(figures['images_per_s'])}, requests {_rate(figures['requests_per_s'])}"
    latency = (
        f"p50 {_seconds(figures['latency_s_p50'])}, p95 {_seconds(figures['latency_s_p95'])}, "
        f"p95 in the queue {_seconds(figures['wait_s_p95'])}"
    )
    instances = (
        f"in service {fleet['in_service']} (busy {fleet['busy']}), pending {fleet['pending']}, "
        f"draining {fleet['draining']}, desired {_number(fleet['desired'])}, "
        f"${figures['price_per_hour']:.3f} an hour"
    )
    failures = (
        f"failed {figures['failed']:.0f}, expired {figures['expired']:.0f}, "
        f"dead letters {figures['dead_letters']:.0f}, since the start of the web process"
    )
    return (
        ("images", rates),
        ("latency", latency),
        ("queue", ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in queue.items())),
        ("fleet", instances),
        ("decision", decided),
        ("failures", failures),
    )


def _cells(instance: Mapping[str, Any]) -> Sequence[str]:
    return (
        instance["id"],
        instance["state"].replace("_", " "),
        "yes" if instance["is_busy"] else "",
        instance["instance_type"] + (" spot" if instance["spot"] else ""),
        _age(instance["age_s"]),
        f"{instance['price_per_hour']:.4f}" if instance["price_per_hour"] else "",
    )


def _series(name: str, labels: Mapping[str, str]) -> str:
    inner = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


def _growth(before: Scrape | None, now: Scrape) -> Samples | None:
    """Return by how much each series of a counter or a histogram has grown; None if that is unknown."""
    if before is None:
        return None
    grown = {
        name: value - before.samples.get(name, 0)
        for name, value in now.samples.items()
        if name.partition("{")[0].endswith(("_total", "_bucket"))
    }
    ours = (value for name, value in grown.items() if name.startswith(("beholder_jobs", "beholder_requests")))
    return None if any(value < 0 for value in ours) else grown


def _total(grown: Samples | None, name: str, *, without: str = "") -> float | None:
    if grown is None:
        return None
    own = {series: value for series, value in grown.items() if series.partition("{")[0] == name}
    return sum(value for series, value in own.items() if not without or f"={without}}}" not in series)


def _quantile(grown: Samples | None, name: str, share: float) -> float | None:
    """Return a quantile of a histogram as Prometheus estimates it; None if nothing was observed."""
    if grown is None:
        return None
    begin = f"{name}_bucket{{le="
    buckets = sorted(
        (float(series.removeprefix(begin).rstrip("}")), count)
        for series, count in grown.items()
        if series.startswith(begin)
    )
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted, low_s, below = share * buckets[-1][1], 0.0, 0.0
    for high_s, count in buckets[:-1]:
        if count >= wanted:
            return low_s + (high_s - low_s) * (wanted - below) / (count - below)
        low_s, below = high_s, count
    return low_s


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else f"{per_s:.1f} a second"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _age(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h" if seconds < _DAY_S else f"{seconds / _DAY_S:.1f} d"
